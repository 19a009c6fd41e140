// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/qmp/scripted_peer.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cassert>
#include <cstring>
#include <utility>

namespace outrider::qmp {
namespace {

constexpr std::size_t kOutMax = std::size_t{64} << 10;  // of one without end

const char* const kHello =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, "
    "\"major\": 7}, \"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";
const char* const kEvent =
    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, "
    "\"event\": \"RTC_CHANGE\", \"data\": {\"offset\": 0}}\r\n";

std::string id_of(const std::string& command) {
  const std::size_t at = command.rfind("\"id\":") + 5;
  return command.substr(at, command.rfind('}') - at);
}

std::string reply(const std::string& value, const std::string& id) {
  return "{\"return\": " + value + ", \"id\": " + id + "}\r\n";
}

}  // namespace

ScriptedPeer::ScriptedPeer(EventLoop& loop, std::string path, Manner manner)
    : loop_(loop), path_(std::move(path)), manner_(manner) {
  listener_ = Fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
  const auto* const raw = reinterpret_cast<const sockaddr*>(&address);
  [[maybe_unused]] const bool listens =
      ::bind(listener_.get(), raw, sizeof(address)) == 0 &&
      ::listen(listener_.get(), 4) == 0;
  assert(listens);
  auto watched =
      loop_.watch(listener_.get(), EPOLLIN, [this](auto) { accept(); });
  assert(watched);
}

ScriptedPeer::~ScriptedPeer() {
  hang_up();
  loop_.forget(listener_.get());
  ::unlink(path_.c_str());
}

void ScriptedPeer::hang_up() {
  if (fd_) loop_.forget(fd_.get());
  fd_ = Fd{};
  in_.clear();
  out_.clear();
  ends_ = false;
}

void ScriptedPeer::accept() {
  Fd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK)};
  if (!fd) return;
  hang_up();
  ++connections_;
  fd_ = std::move(fd);
  auto watched = loop_.watch(
      fd_.get(), EPOLLIN, [this](std::uint32_t events) { on_ready(events); });
  assert(watched);
  if (manner_ != Manner::kSilent) say(kHello);
}

void ScriptedPeer::on_ready(std::uint32_t epoll_events) {
  if ((epoll_events & EPOLLOUT) != 0) send();
  if (fd_ && (epoll_events & ~std::uint32_t{EPOLLOUT}) != 0) receive();
}

void ScriptedPeer::receive() {
  std::array<char, 4096> bytes;
  const ssize_t got = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
  if (got <= 0) return hang_up();
  in_.append(bytes.data(), static_cast<std::size_t>(got));
  std::size_t end = 0;
  while (fd_ && (end = in_.find('\n')) != std::string::npos) {
    const std::string command = in_.substr(0, end);
    in_.erase(0, end + 1);
    answer(command);
  }
}

void ScriptedPeer::answer(const std::string& command) {
  const std::string id = id_of(command);
  if (command.find("qmp_capabilities") != std::string::npos)
    return say(reply("{}", id));
  ++asked_;
  switch (manner_) {
    case Manner::kPolite:
      if (answer_of_) {
        return say("{" + answer_of_(command) + ", \"id\": " + id + "}\r\n");
      }
      return say(reply("{}", id));
    case Manner::kOneByte:
      return say(reply("{}", id));
    case Manner::kFloods:
      return say(kEvent);
    case Manner::kHugeLine:
      return say(std::string(4096, 'x'));
    case Manner::kDeep:
      return say("{\"return\": " + std::string(4096, '[') + "\n");
    case Manner::kLyingId:
      return say(reply("{}", id + "7"));
    case Manner::kEndsMidReply:
      ends_ = true;
      return say("{\"return\": {");
    case Manner::kVanishes:
      return hang_up();
    case Manner::kSilent:
    case Manner::kHung:
      return;
  }
}

void ScriptedPeer::say(const std::string& bytes) {
  out_ += bytes;
  send();
}

void ScriptedPeer::send() {
  const std::size_t most = manner_ == Manner::kOneByte ? 1 : out_.size();
  const ssize_t sent = ::send(fd_.get(), out_.data(), most, MSG_NOSIGNAL);
  if (sent > 0) out_.erase(0, static_cast<std::size_t>(sent));
  if (asked_ > 0 && manner_ == Manner::kFloods)
    while (out_.size() < kOutMax) out_ += kEvent;
  if (asked_ > 0 && manner_ == Manner::kHugeLine)
    out_.append(kOutMax - out_.size(), 'x');
  if (ends_ && out_.empty()) return hang_up();
  auto changed =
      loop_.change(fd_.get(), out_.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT);
  assert(changed);
}

}  // namespace outrider::qmp
