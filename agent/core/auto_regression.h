// SPDX-License-Identifier: Apache-2.0
// The next step from the last two.
#pragma once

#include <array>

namespace outrider {

/// Two weights, of how far steps are from the mean, by recursive least squares
/// that forget slowly (Haykin, "Adaptive Filter Theory", chapter 10). One wild
/// step cannot spoil it: errors are clipped, and so is what is foreseen.
/// Invariant: a trivially copyable value; finite.
class AutoRegression {
 public:
  /// The next step. `mean`: of late; above 0.
  void observe(float value, float mean);
  /// Of the next step. Shape: 0 .. the peak of late.
  float next() const;
  /// Whether it may have come about: of bytes from elsewhere.
  bool is_sound() const;

 private:
  static constexpr float kDoubtFirst = 10;

  void learn(float value);

  // Of the last two steps' correlation, inverted: its diagonal, and the rest.
  float doubt_newer_ = kDoubtFirst;
  float doubt_older_ = kDoubtFirst;
  float doubt_both_ = 0;
  float weight_newer_ = 1;
  float weight_older_ = 0;
  float newer_ = 0;  // the last step, from the mean, by it
  float older_ = 0;
  float mean_ = 0;    // of these; 0: there are none
  float recent_ = 0;  // the peak of late
};

}  // namespace outrider
