// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace outrider {

/// A stream of bytes from one thread to one other; neither ever waits.
/// Invariant: read_ <= written_ <= read_ + size, both of all bytes so far. When
/// all was read, what comes next begins at the first byte, so that no more
/// memory is touched than ever waited at once.
class JournalRing {
 public:
  explicit JournalRing(std::size_t size)
      : memory_(new std::byte[size]), bytes_(memory_.get(), size) {}

  // The producer's.

  std::size_t room() const {
    return bytes_.size() -
           static_cast<std::size_t>(written_.load(std::memory_order_relaxed) -
                                    read_.load(std::memory_order_acquire));
  }
  /// Shape: no more than room().
  void push(std::span<const std::byte> bytes) {
    const std::uint64_t at = written_.load(std::memory_order_relaxed);
    // Nothing is being read then; `written_` publishes it with the bytes.
    if (room() == bytes_.size()) begin_.store(at, std::memory_order_relaxed);
    const std::size_t place = place_of(at);
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
    if (size == 0) return {};
    const std::size_t place = place_of(read());
    const std::size_t first = std::min(size, bytes_.size() - place);
    const std::span<const std::byte> all(bytes_);
    return {all.subspan(place, first), all.first(size - first)};
  }
  void take(std::uint64_t until) {
    read_.store(until, std::memory_order_release);
  }

 private:
  std::size_t place_of(std::uint64_t at) const {
    return static_cast<std::size_t>(
        (at - begin_.load(std::memory_order_relaxed)) % bytes_.size());
  }

  std::unique_ptr<std::byte[]> memory_;  // not touched before it is used
  std::span<std::byte> bytes_;
  std::atomic<std::uint64_t> begin_{0};  // whose place is the first byte
  std::atomic<std::uint64_t> written_{0};
  std::atomic<std::uint64_t> read_{0};
};

}  // namespace outrider
