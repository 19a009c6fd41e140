// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace outrider {

/// A stream of bytes from one thread to one other; neither ever waits.
/// Invariant: read_ <= written_ <= read_ + size, both of all bytes so far.
class JournalRing {
 public:
  explicit JournalRing(std::size_t size) : bytes_(size) {}

  // The producer's.

  std::size_t room() const {
    return bytes_.size() -
           static_cast<std::size_t>(written_.load(std::memory_order_relaxed) -
                                    read_.load(std::memory_order_acquire));
  }
  /// Shape: no more than room().
  void push(std::span<const std::byte> bytes) {
    const std::uint64_t at = written_.load(std::memory_order_relaxed);
    const std::size_t place = static_cast<std::size_t>(at % bytes_.size());
    const std::size_t first = std::min(bytes.size(), bytes_.size() - place);
    const auto to = bytes_.begin() + static_cast<std::ptrdiff_t>(place);
    std::ranges::copy(bytes.first(first), to);
    std::ranges::copy(bytes.subspan(first), bytes_.begin());
    written_.store(at + bytes.size(), std::memory_order_release);
  }
  /// How much was pushed so far.
  std::uint64_t written() const {
    return written_.load(std::memory_order_relaxed);
  }

  // The consumer's.

  std::uint64_t available() const {
    return written_.load(std::memory_order_acquire);
  }
  std::uint64_t read() const { return read_.load(std::memory_order_relaxed); }
  /// What there is from read() to `until`, in two parts.
  std::array<std::span<const std::byte>, 2> peek(std::uint64_t until) const {
    const std::size_t size = static_cast<std::size_t>(until - read());
    const std::size_t place = static_cast<std::size_t>(read() % bytes_.size());
    const std::size_t first = std::min(size, bytes_.size() - place);
    const std::span<const std::byte> all(bytes_);
    return {all.subspan(place, first), all.first(size - first)};
  }
  void take(std::uint64_t until) {
    read_.store(until, std::memory_order_release);
  }

 private:
  std::vector<std::byte> bytes_;
  std::atomic<std::uint64_t> written_{0};
  std::atomic<std::uint64_t> read_{0};
};

}  // namespace outrider
