// SPDX-License-Identifier: Apache-2.0
// The seam to the models of the long horizon: minutes to days, off the loop.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace outrider {

/// What a model is fitted to. Shape: a value a step, oldest first, no gaps.
struct History {
  std::span<const double> values;
  std::size_t season = 0;  // steps; 0: none, or seen less than twice
};

/// Forecasts one series for any number of steps ahead. Deterministic.
class HorizonModel {
 public:
  virtual ~HorizonModel() = default;

  virtual const char* name() const = 0;
  /// `values` and `ahead` begin at the end of the history and stay valid until
  /// the next `fit`. Costs milliseconds.
  virtual void fit(const History& history) = 0;
  /// The steps after the last one that `fit` or `observe` has seen. Finite.
  virtual void forecast(std::span<double> ahead) const = 0;
  /// One more value, without another fit. Cheap.
  virtual void observe(double value) = 0;
};

/// The value one season before; without a season the last one.
std::unique_ptr<HorizonModel> make_seasonal_naive();
/// Exponential smoothing with damped trend and additive season (Hyndman and
/// others 2008), its gains the best of a grid by one-step squared error.
std::unique_ptr<HorizonModel> make_ets();
/// ARIMA after the mean profile of a season was taken off: d by the KPSS test,
/// p and q by AICc, fitted by Hannan and Rissanen's (1982) two regressions.
std::unique_ptr<HorizonModel> make_arima();
/// Trend with change points and Fourier seasons by ridge regression:
/// "prophet-like" (Taylor and Letham 2018).
std::unique_ptr<HorizonModel> make_prophet_like();

enum class HorizonModelType : std::uint8_t {
  kSeasonalNaive,
  kEts,
  kArima,
  kProphetLike,
};
inline constexpr std::array<HorizonModelType, 4> kHorizonModelTypes = {
    HorizonModelType::kSeasonalNaive, HorizonModelType::kEts,
    HorizonModelType::kArima, HorizonModelType::kProphetLike};

std::unique_ptr<HorizonModel> make_horizon_model(HorizonModelType type);
/// All of them, in that order.
std::vector<std::unique_ptr<HorizonModel>> all_horizon_models();

}  // namespace outrider
