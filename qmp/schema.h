// SPDX-License-Identifier: Apache-2.0
// What a QEMU can do, by its own schema and never by its version.
#pragma once

#include <jansson.h>

#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"

namespace outrider::qmp {

/// The commands and events of one QEMU. Invariant: sorted by name.
class Schema {
 public:
  /// Reads the answer to query-qmp-schema.
  /// Errors: EBADMSG; among them a command whose arguments it does not explain.
  static Result<Schema> parse(const json_t* answer);

  /// Whether there is such a command.
  bool has_command(std::string_view name) const;
  /// Whether that command takes such an argument, whatever its others are:
  /// arguments of one variant of a union do not count.
  bool has_argument(std::string_view command, std::string_view name) const;
  /// Whether there is such an event.
  bool has_event(std::string_view name) const;
  /// How many there are.
  std::size_t commands() const { return commands_.size(); }

 private:
  struct Command {
    std::string name;
    std::vector<std::string> arguments;
  };
  const Command* find(std::string_view name) const;

  std::vector<Command> commands_;
  std::vector<std::string> events_;
};

}  // namespace outrider::qmp
