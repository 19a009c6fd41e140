// SPDX-License-Identifier: Apache-2.0
#include "agent/horizon/model.h"

namespace outrider {

std::vector<std::unique_ptr<HorizonModel>> all_horizon_models() {
  std::vector<std::unique_ptr<HorizonModel>> models;
  models.push_back(make_seasonal_naive());
  models.push_back(make_ets());
  models.push_back(make_arima());
  models.push_back(make_prophet_like());
  return models;
}

}  // namespace outrider
