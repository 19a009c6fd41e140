// SPDX-License-Identifier: Apache-2.0
// Any bytes as a demand: what is told is ordered, not negative and bounded;
// what was saved goes on as if nothing had been.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "agent/base/crc32c.h"
#include "agent/core/peak_forecaster.h"
#include "agent/core/season_search.h"

namespace outrider {
namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check(const Forecast& forecast) {
  MilliCpus before{0};
  for (const MilliCpus peak : forecast.peak) {
    require(peak >= before && peak.count() <= 2'000'000);
    before = peak;
  }
  require(forecast.season_steps <= 1024);
}

std::vector<std::byte> state_of(const Forecaster& forecaster) {
  std::vector<std::byte> state(forecaster.state_bytes());
  forecaster.save(state);
  return state;
}

/// Bytes over those of a state, sealed as anybody can.
std::vector<std::byte> forged(std::vector<std::byte> state,
                              const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kCrcAt = 12;
  for (; size >= 3; data += 3, size -= 3) {
    const std::size_t at = (data[0] | data[1] << 8) % (state.size() - 16);
    state[16 + at] = std::byte{data[2]};
  }
  std::fill_n(state.begin() + kCrcAt, 4, std::byte{0});
  const std::uint32_t crc = crc32c(state);
  std::memcpy(&state[kCrcAt], &crc, sizeof(crc));
  return state;
}

/// Nine bytes a step: what kind, and a figure of any size.
void run(Forecaster& forecaster, const std::uint8_t* data, std::size_t size) {
  SeasonSearch search;
  for (; size >= 9; data += 9, size -= 9) {
    std::int64_t figure = 0;
    std::memcpy(&figure, data + 1, sizeof(figure));
    figure >>= data[0] & 63;
    const int repeats = (data[0] & 64) != 0 ? 50 : 1;
    for (int i = 0; i < repeats; ++i) {
      forecaster.observe({.value = MilliCpus{figure},
                          .least = MilliCpus{figure / (1 + (data[8] & 3))},
                          .missing = (data[0] & 128) != 0});
      forecaster.ponder(search, {.first = data[1], .last = data[2]});
      check(forecaster.forecast());
    }
  }
}

}  // namespace
}  // namespace outrider

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace outrider;
  if (size < 2) return 0;
  const auto horizon = static_cast<std::uint32_t>(1 + data[0] % 12);
  const auto forecaster = make_forecaster(horizon);
  const std::size_t half = 1 + (size - 1) / 2;
  run(*forecaster, data + 1, half - 1);
  const auto other = make_forecaster(horizon);
  require(other->load(state_of(*forecaster)));
  run(*forecaster, data + half, size - half);
  run(*other, data + half, size - half);
  require(state_of(*forecaster) == state_of(*other));
  if (other->load(forged(state_of(*other), data + half, size - half))) {
    run(*other, data + 1, half - 1);
  }
  return 0;
}
