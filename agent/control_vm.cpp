// SPDX-License-Identifier: Apache-2.0
#include "agent/control_vm.h"

#include <utility>

#include "agent/log.h"

namespace outrider {

tl::unexpected<ControlRefusal> refusal(ControlCode code, std::string what) {
  return tl::unexpected<ControlRefusal>(ControlRefusal{code, std::move(what)});
}

const Vm* find_vm(const Agent& agent, const ControlCall& call) {
  return agent.find(call.request.text("vm").value_or(""));
}

tl::unexpected<ControlRefusal> no_such_vm(const ControlCall& call) {
  return refusal(ControlCode::kError,
                 "no VM " + escaped(call.request.text("vm").value_or("")) +
                     ": see `outrider vm list`");
}

}  // namespace outrider
