// SPDX-License-Identifier: Apache-2.0
// What a tick of the whole agent allocates, and what it costs.
#include <stdlib.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <string>

#include "agent/sys/clock.h"
#include "tests/eyes/checks.h"
#include "tests/eyes/observer.h"

namespace {
std::atomic<long> allocations{0};
}  // namespace

void* operator new(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = std::malloc(bytes);
  if (memory == nullptr) std::abort();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace outrider::check {

void check_ticks(int seconds) {
  std::string scratch = "/tmp/outrider-ticks-XXXXXX";
  if (::mkdtemp(scratch.data()) == nullptr) give_up(scratch);
  std::unique_ptr<Agent> agent = start_agent(scratch + "/journal");
  turn_for(*agent, std::chrono::seconds{4});  // every buffer has its size
  const AgentStatus before = agent->status();
  const std::size_t vms = agent->vms().size();
  const long allocations_before = allocations;
  turn_for(*agent, std::chrono::seconds{seconds});
  const long allocated = allocations - allocations_before;
  const AgentStatus after = agent->status();
  const std::uint64_t written = agent->cpu().journal()->status().bytes;
  const auto ticks = static_cast<double>(after.ticks - before.ticks);
  const auto cpu =
      static_cast<double>((after.own_cpu - before.own_cpu).count());
  report("ticks.vms", static_cast<double>(vms), ">= 1", vms >= 1);
  report("ticks.counted", ticks, ">= 10", ticks >= 10);
  report("ticks.allocations", static_cast<double>(allocated), "0",
         allocated == 0);
  report("ticks.cpu_ns_a_vm_and_tick",
         cpu / (ticks * static_cast<double>(vms == 0 ? 1 : vms)), "(reported)",
         true);
  report("ticks.journal_bytes", static_cast<double>(written), "> 0",
         written > 0);
  agent.reset();
  std::filesystem::remove_all(scratch);
}

}  // namespace outrider::check
