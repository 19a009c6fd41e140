// SPDX-License-Identifier: Apache-2.0
// Any bytes as a line of the control socket: refused or understood, no more.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "agent/control_request.h"
#include "agent/control_sample.h"

namespace {

using outrider::ControlArg;

constexpr std::int64_t kPidMax = 1 << 22;

constexpr std::array<ControlArg, 3> kArgs = {
    ControlArg{.name = "pid",
               .kind = ControlArg::Kind::kCount,
               .required = true,
               .min = 1,
               .max = kPidMax},
    ControlArg{.name = "vm"}, ControlArg{.name = "name"}};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const std::string_view line{reinterpret_cast<const char*>(data), size};
  const auto request = outrider::ControlRequest::parse(line);
  if (request && request->check(kArgs)) {
    const auto pid = request->count("pid");
    if (!pid || *pid < 1 || *pid > kPidMax) std::abort();
    if (request->verb().size() > size) std::abort();
  }
  const outrider::Json reply{
      json_loadb(line.data(), line.size(), JSON_REJECT_DUPLICATES, nullptr)};
  const auto sample = outrider::parse_sample(reply.get());
  const auto vms = outrider::parse_identities(reply.get());
  if (sample && sample->vms.size() > size) std::abort();
  if (vms && vms->size() > size) std::abort();
  return 0;
}
