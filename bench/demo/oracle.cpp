// SPDX-License-Identifier: Apache-2.0
#include "bench/demo/oracle.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>

namespace outrider::demo {

Oracle::Oracle(const Guest& guest)
    : marks_(::open(guest.marks.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (!marks_) give_up("open " + guest.marks);
  // What it did in earlier turns is of no interest.
  if (lseek(marks_.get(), 0, SEEK_END) < 0) give_up("seek " + guest.marks);
  std::ifstream plan(guest.plan);
  std::int64_t at_us = 0;
  std::int64_t cap = 0;
  while (plan >> at_us >> cap)
    steps_.push_back(
        {.at = std::chrono::microseconds{at_us}, .cap = MilliCpus{cap}});
  if (steps_.empty()) give_up("no plan in " + guest.plan);
}

void Oracle::read_marks() {
  std::array<char, 4096> bytes{};
  const ssize_t got = ::read(marks_.get(), bytes.data(), bytes.size());
  if (got > 0) partial_.append(bytes.data(), static_cast<std::size_t>(got));
  for (std::size_t end; (end = partial_.find('\n')) != std::string::npos;) {
    std::istringstream line(partial_.substr(0, end));
    partial_.erase(0, end + 1);
    std::int64_t stamp_ns = 0;
    std::int64_t lead_s = 0;
    std::string word;
    line >> stamp_ns >> word;
    if (word == "B" || word == "E") is_busy_ = word == "B";
    if (word != "LEAD" || !(line >> lead_s)) continue;
    zero_ = Instant{std::chrono::nanoseconds{stamp_ns}} +
            std::chrono::seconds{lead_s} + std::chrono::milliseconds{100};
  }
}

MilliCpus Oracle::cap_at(Instant now) {
  read_marks();
  if (!zero_) return kFloor;
  while (step_ < steps_.size() && now >= *zero_ + steps_[step_].at) {
    const MilliCpus before = step_ == 0 ? kFloor : steps_[step_ - 1].cap;
    burst_cap_ = std::max(before, steps_[step_].cap);
    ++step_;
  }
  const MilliCpus planned = step_ == 0 ? kFloor : steps_[step_ - 1].cap;
  return is_busy_ ? std::max(planned, burst_cap_) : planned;
}

}  // namespace outrider::demo
