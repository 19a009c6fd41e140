// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/ask.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "agent/log.h"

namespace outrider {
namespace {

constexpr Duration kPatience = std::chrono::seconds{10};

tl::unexpected<Failure> failure(const Error& error) {
  const bool refused = error.code == EACCES || error.code == EPERM;
  return tl::unexpected<Failure>(
      Failure{refused ? kExitRefused : kExitError, error.what});
}

ExitCode exit_code_of(std::int64_t code) {
  if (code == kExitUsage || code == kExitRefused)
    return static_cast<ExitCode>(code);
  return kExitError;
}

}  // namespace

int complain(const Failure& failure) {
  fmt::print(stderr, "outrider: {}\n", failure.what);
  return failure.code;
}

int complain_of(const Error& error) {
  const std::string why =
      error.code == 0 ? "" : fmt::format(": {}", std::strerror(error.code));
  return complain(Failure{kExitError, error.what + why});
}

Answer<ControlClient> connect_to_daemon(const std::string& socket) {
  auto client = ControlClient::connect(socket);
  if (!client) return failure(client.error());
  return *std::move(client);
}

Answer<ControlReply> receive_reply(ControlClient& client, Duration patience) {
  auto reply = client.receive(patience);
  if (!reply) return failure(reply.error());
  if (json_is_true(json_object_get(reply->json.get(), "ok")))
    return *std::move(reply);
  return tl::unexpected<Failure>(
      Failure{exit_code_of(count_at(reply->json.get(), "code")),
              text_at(reply->json.get(), "error")});
}

Answer<ControlReply> ask(ControlClient& client, std::string_view request) {
  auto sent = client.send(request);
  if (!sent) return failure(sent.error());
  return receive_reply(client, kPatience);
}

Answer<ControlReply> ask(const std::string& socket, std::string_view request) {
  auto client = connect_to_daemon(socket);
  if (!client) return tl::unexpected<Failure>(std::move(client.error()));
  return ask(*client, request);
}

bool put(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
         std::fflush(stdout) == 0;
}

std::string text_at(const json_t* object, const char* name) {
  const json_t* value = json_object_get(object, name);
  if (!json_is_string(value)) return "";
  return escaped({json_string_value(value), json_string_length(value)});
}

std::int64_t count_at(const json_t* object, const char* name) {
  return json_integer_value(json_object_get(object, name));
}

}  // namespace outrider
