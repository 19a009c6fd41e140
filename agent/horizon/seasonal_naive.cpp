// SPDX-License-Identifier: Apache-2.0
#include "agent/horizon/model.h"

namespace outrider {
namespace {

class SeasonalNaive : public HorizonModel {
 public:
  const char* name() const override { return "seasonal-naive"; }

  void fit(const History& history) override {
    const std::size_t kept = history.season > 0 ? history.season : 1;
    last_.assign(history.values.end() - static_cast<long>(kept),
                 history.values.end());
    next_ = 0;
  }

  void observe(double value) override {
    last_[next_] = value;
    next_ = (next_ + 1) % last_.size();
  }

  void forecast(std::span<double> ahead) const override {
    for (std::size_t i = 0; i < ahead.size(); ++i) {
      ahead[i] = last_[(next_ + i) % last_.size()];
    }
  }

 private:
  std::vector<double> last_;  // one season, a ring
  std::size_t next_ = 0;      // the oldest: what comes next
};

}  // namespace

std::unique_ptr<HorizonModel> make_seasonal_naive() {
  return std::make_unique<SeasonalNaive>();
}

}  // namespace outrider
