// SPDX-License-Identifier: Apache-2.0
#include "agent/core/season_experts.h"

#include <algorithm>
#include <cmath>

#include "agent/base/prefetch.h"
#include "agent/core/quad.h"

namespace outrider {
namespace {

constexpr float kOffKept = 0.98F;
// Above what a season foresaw for now, by so much.
constexpr float kOverrun = 1.25F;
constexpr float kOverrunLeast = 0.01F;  // of the mean

}  // namespace

void SeasonExperts::observe(float demand, std::size_t horizon) {
  if (period() > 0 && periods_.mean_step >= 0) follow(demand);
  push(demand, horizon);
}

void SeasonExperts::skip(float last, std::size_t horizon) {
  push(last, horizon);
}

void SeasonExperts::push(float demand, std::size_t horizon) {
  season_.push(demand);
  if (period() <= 0) return;
  expected_ = periods_.mean_step;
  periods_ = season_.periods_ago(horizon);
}

void SeasonExperts::follow(float demand) {
  const float off = demand - periods_.mean_step;
  off_by_off_ = kOffKept * off_by_off_ + off * off_;
  off_squared_ = kOffKept * off_squared_ + off_ * off_;
  off_ = off;
}

bool SeasonExperts::ponder(SeasonSearch& search, std::size_t horizon,
                           LikelyPeriod likely) {
  const bool is_done = search.ponder(season_, horizon + 2, likely);
  // Else the next season would begin with what this one expected.
  if (period() <= 0) periods_ = {};
  return is_done;
}

float SeasonExperts::point() const {
  const float left = off_squared_ > 0 ? off_by_off_ / off_squared_ : 0;
  const float off = std::clamp(left, 0.0F, 1.0F) * off_;
  return std::max(periods_.mean_next + off, 0.0F);
}

// A burst that lasts longer than the last ones did is not over because they
// were.
float SeasonExperts::peak_point(const View& view) const {
  const bool overruns =
      view.last > kOverrun * periods_.peak_now + kOverrunLeast * view.unit;
  return overruns ? std::max(periods_.peak_next, view.last)
                  : periods_.peak_next;
}

SeasonView SeasonExperts::view(const View& view) const {
  return {.points = {point(), peak_point(view)},
          .expected = expected_ >= 0 ? expected_ : view.unit,
          .mean_next = periods_.mean_next,
          .peak_next = periods_.peak_next};
}

void SeasonExperts::prefetch() const {
  season_.prefetch();
  if (period() > 0) {
    prefetch_lines(&periods_,
                   sizeof(*this) - offsetof(SeasonExperts, periods_));
  }
}

bool SeasonExperts::is_sound() const {
  for (const float from_unknown : {periods_.mean_step, expected_}) {
    if (!(from_unknown >= -1 && from_unknown <= kFigureMost)) return false;
  }
  for (const float figure :
       {periods_.mean_next, periods_.peak_now, periods_.peak_next}) {
    if (!(figure >= 0 && figure <= kFigureMost)) return false;
  }
  return std::abs(off_) <= kFigureMost && std::isfinite(off_by_off_) &&
         off_squared_ >= 0 && std::isfinite(off_squared_) && season_.is_sound();
}

}  // namespace outrider
