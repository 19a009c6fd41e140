// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace outrider::eval {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
constexpr double kUnbounded = std::numeric_limits<double>::infinity();

/// Allocates the last value plus the knob.
class LastPlus : public Method {
 public:
  void step(double value, std::span<double> allocations) override {
    allocations[0] = value;
    allocations[1] = value + 1;
  }
};

MethodRow last_plus() {
  return {"last-plus", {0, 1}, false, [](const SeriesFacts&) {
            return std::make_unique<LastPlus>();
          }};
}

SeriesSet set_of(std::vector<double> values, double capacity = kUnbounded,
                 std::size_t warm_up = 0) {
  return {.name = "test",
          .series = {{.values = std::move(values), .capacity = capacity}},
          .season = 0,
          .warm_up = warm_up};
}

TEST(RunMethod, CountsMissesAndSurplus) {
  const Curve curve = run_method(last_plus(), set_of({1, 2, 2, 4}));
  EXPECT_EQ(curve.scored, 3U);  // the first has no allocation yet
  EXPECT_DOUBLE_EQ(curve.points[0].violations, 2.0 / 3);
  EXPECT_DOUBLE_EQ(curve.points[0].over, 0);
  EXPECT_DOUBLE_EQ(curve.points[1].violations, 1.0 / 3);
  EXPECT_DOUBLE_EQ(curve.points[1].over, 1.0 / 8);
}

TEST(RunMethod, DoesNotScoreWhatIsMissingOrWarmUp) {
  const Curve curve =
      run_method(last_plus(), set_of({1, kMissing, 2, 2}, kUnbounded, 3));
  EXPECT_EQ(curve.scored, 1U);
  EXPECT_DOUBLE_EQ(curve.points[0].violations, 0);
}

TEST(RunMethod, CutsAtTheCapacity) {
  const Curve curve = run_method(last_plus(), set_of({4, 4, 4}, 4));
  EXPECT_DOUBLE_EQ(curve.points[1].over, 0);
}

TEST(OverAt, InterpolatesBetweenSettings) {
  Curve curve;
  curve.points = {{.knob = 1, .violations = 0.1, .over = 0.2},
                  {.knob = 2, .violations = 0.02, .over = 1}};
  EXPECT_DOUBLE_EQ(over_at(curve, 0.1).value(), 0.2);
  EXPECT_DOUBLE_EQ(over_at(curve, 0.06).value(), 0.6);
  EXPECT_FALSE(over_at(curve, 0.01));
  EXPECT_FALSE(over_at(curve, 0.2));
}

TEST(MeanOfGroups, WeighsGroupsAlike) {
  const std::vector<std::vector<double>> groups = {{4, 4, 4}, {1}, {}};
  EXPECT_DOUBLE_EQ(mean_of_groups(groups).value(), 2);
  EXPECT_FALSE(mean_of_groups({}));
}

// Truncating the future changes nothing, and constant in gives constant out.
TEST(Methods, AreCausalAndKeepAConstant) {
  for (const MethodRow& row : methods()) {
    const SeriesFacts facts{.scale = 5, .capacity = 100, .season = 12};
    const auto method = row.make(facts);
    std::vector<double> allocations(row.knob.size());
    for (int tick = 0; tick < 600; ++tick) method->step(5, allocations);
    for (const double allocation : allocations) {
      EXPECT_TRUE(std::isfinite(allocation)) << row.name;
      EXPECT_GE(allocation, 4.5) << row.name;
    }
  }
}

// Nothing, or nothing known, is a series as well.
TEST(Methods, TakeASeriesOfNothing) {
  const double missing = std::nan("");
  for (const auto& values :
       {std::vector<double>(40, 0.0), std::vector<double>(40, missing)}) {
    for (const MethodRow& row : methods()) {
      if (row.needs_season) continue;
      for (const Point& point : run_method(row, set_of(values)).points) {
        EXPECT_EQ(point.over, 0) << row.name;
        EXPECT_EQ(point.violations, 0) << row.name;
      }
    }
  }
}

}  // namespace
}  // namespace outrider::eval
