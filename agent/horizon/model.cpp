// SPDX-License-Identifier: Apache-2.0
#include "agent/horizon/model.h"

namespace outrider {

std::unique_ptr<HorizonModel> make_horizon_model(HorizonModelType type) {
  switch (type) {
    case HorizonModelType::kSeasonalNaive:
      return make_seasonal_naive();
    case HorizonModelType::kEts:
      return make_ets();
    case HorizonModelType::kArima:
      return make_arima();
    case HorizonModelType::kProphetLike:
      return make_prophet_like();
  }
  return nullptr;
}

std::vector<std::unique_ptr<HorizonModel>> all_horizon_models() {
  std::vector<std::unique_ptr<HorizonModel>> models;
  for (const HorizonModelType type : kHorizonModelTypes) {
    models.push_back(make_horizon_model(type));
  }
  return models;
}

}  // namespace outrider
