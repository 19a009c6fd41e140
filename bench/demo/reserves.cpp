// SPDX-License-Identifier: Apache-2.0
#include "bench/demo/reserves.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "agent/json.h"

namespace outrider::demo {

void Reserves::connect() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_.size() >= sizeof(address.sun_path)) return;
  std::copy(socket_.begin(), socket_.end(), address.sun_path);
  Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                      sizeof(address)) == 0)
    fd_ = std::move(fd);
}

void Reserves::forget() {
  fd_ = Fd{};
  asked_ = false;
  partial_.clear();
  not_lent_.clear();
}

void Reserves::ask() {
  constexpr std::string_view kRequest = "{\"verb\":\"allocations\"}\n";
  if (asked_) return;
  if (!fd_) connect();
  if (!fd_) return;
  const ssize_t sent =
      ::send(fd_.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL);
  asked_ = sent == static_cast<ssize_t>(kRequest.size());
  if (!asked_) forget();
}

void Reserves::take_answer() {
  if (!fd_) return;
  std::array<char, 8192> bytes{};
  const ssize_t got = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) return forget();
  partial_.append(bytes.data(), static_cast<std::size_t>(got));
  const std::size_t end = partial_.find('\n');
  if (end == std::string::npos) return;
  understand(partial_.substr(0, end));
  partial_.erase(0, end + 1);
  asked_ = false;
}

void Reserves::understand(const std::string& line) {
  const Json answer{json_loadb(line.data(), line.size(), 0, nullptr)};
  const json_t* vms = json_object_get(answer.get(), "vms");
  std::size_t index = 0;
  const json_t* vm = nullptr;
  json_array_foreach(vms, index, vm) {
    const char* name = json_string_value(json_object_get(vm, "name"));
    if (name == nullptr) continue;
    const auto reserve =
        json_integer_value(json_object_get(vm, "reserve_mcpu"));
    const auto lent = json_integer_value(json_object_get(vm, "lent_mcpu"));
    not_lent_[name] = MilliCpus{std::max<std::int64_t>(reserve - lent, 0)};
  }
}

MilliCpus Reserves::not_lent(const std::string& vm) const {
  const auto found = not_lent_.find(vm);
  return found == not_lent_.end() ? MilliCpus{0} : found->second;
}

}  // namespace outrider::demo
