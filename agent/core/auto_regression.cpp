// SPDX-License-Identifier: Apache-2.0
#include "agent/core/auto_regression.h"

#include <algorithm>
#include <cmath>

#include "agent/core/quad.h"

namespace outrider {
namespace {

constexpr float kKept = 0.998F;  // half forgotten in 350 steps
// Where nothing varies, what is forgotten is not replaced: doubt would grow
// without bound.
constexpr float kDoubtMost = 50;
// In means.
constexpr float kErrorMost = 4;
constexpr float kInputMost = 20;
constexpr float kRecentKept = 0.99F;

}  // namespace

void AutoRegression::learn(float value) {
  const float gain_newer = doubt_newer_ * newer_ + doubt_both_ * older_;
  const float gain_older = doubt_both_ * newer_ + doubt_older_ * older_;
  const float spread = kKept + gain_newer * newer_ + gain_older * older_;
  // It cannot be less but by rounding, which then has spoilt all of it.
  if (!(spread >= kKept)) {
    doubt_newer_ = doubt_older_ = kDoubtFirst;
    doubt_both_ = 0;
    return;
  }
  const float told = weight_newer_ * newer_ + weight_older_ * older_;
  const float error =
      std::clamp((value - mean_) / mean_ - told, -kErrorMost, kErrorMost) /
      spread;
  weight_newer_ += gain_newer * error;
  weight_older_ += gain_older * error;
  const float less = 1 / spread;
  doubt_newer_ -= gain_newer * gain_newer * less;
  doubt_older_ -= gain_older * gain_older * less;
  doubt_both_ -= gain_newer * gain_older * less;
  if (doubt_newer_ + doubt_older_ >= kDoubtMost) return;
  doubt_newer_ *= 1 / kKept;
  doubt_older_ *= 1 / kKept;
  doubt_both_ *= 1 / kKept;
}

bool AutoRegression::is_sound() const {
  for (const float any : {doubt_newer_, doubt_older_, doubt_both_,
                          weight_newer_, weight_older_, newer_, older_}) {
    if (!(std::abs(any) <= kFigureMost)) return false;
  }
  for (const float figure : {mean_, recent_}) {
    if (!(figure >= 0 && figure <= kFigureMost)) return false;
  }
  return true;
}

void AutoRegression::observe(float value, float mean) {
  if (mean_ > 0) learn(value);
  recent_ = std::max({kRecentKept * recent_, value, kTiny});
  const float before = mean_ > 0 ? mean_ * (1 + newer_) : value;
  older_ = std::min((before - mean) / mean, kInputMost);
  newer_ = std::min((value - mean) / mean, kInputMost);
  mean_ = mean;
}

float AutoRegression::next() const {
  const float next =
      mean_ * (1 + weight_newer_ * newer_ + weight_older_ * older_);
  // Of a comparison that a value that is not a number would not pass.
  return next > 0 ? std::min(next, recent_) : 0;
}

}  // namespace outrider
