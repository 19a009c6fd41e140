// SPDX-License-Identifier: Apache-2.0
#include "qmp/command_line.h"

#include <jansson.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "qmp/wire.h"

namespace outrider::qmp {
namespace {

/// The members of one option's value. Invariant: `first` is the first word
/// without a name, e.g. the driver of -device.
struct Options {
  std::string first;
  std::map<std::string, std::string, std::less<>> named;

  std::string_view get(std::string_view name) const {
    const auto found = named.find(name);
    return found == named.end() ? std::string_view{} : found->second;
  }
  bool is_on(std::string_view name) const {
    const std::string_view value = get(name);
    return value == "on" || value == "yes" || value == "true" || value == "y";
  }
  /// The first word, or what it stands for by name.
  std::string_view first_or(std::string_view name) const {
    return named.contains(name) ? get(name) : std::string_view{first};
  }
};

// Up to the next single comma; a double one is a comma of the text.
std::string take_part(std::string_view& rest) {
  std::string part;
  while (!rest.empty()) {
    const char byte = rest.front();
    rest.remove_prefix(1);
    if (byte == ',') {
      if (!rest.starts_with(',')) break;
      rest.remove_prefix(1);
    }
    part += byte;
  }
  return part;
}

void put_part(Options& options, std::string part, std::size_t index) {
  const std::size_t equals = part.find('=');
  if (equals != std::string::npos) {
    options.named[part.substr(0, equals)] = part.substr(equals + 1);
  } else if (index == 0) {
    options.first = std::move(part);
  } else if (part == "nowait") {
    options.named["wait"] = "off";
  } else {
    options.named[std::move(part)] = "on";
  }
}

// libvirt and others write -device and -object as JSON.
Options parse_json(std::string_view value) {
  Options options;
  const Json json{
      json_loadb(value.data(), value.size(), JSON_REJECT_DUPLICATES, nullptr)};
  for (void* at = json_object_iter(json.get()); at != nullptr;
       at = json_object_iter_next(json.get(), at)) {
    const json_t* const member = json_object_iter_value(at);
    std::string text;
    if (json_is_string(member)) text = json_string_value(member);
    if (json_is_boolean(member)) text = json_is_true(member) ? "on" : "off";
    options.named[json_object_iter_key(at)] = std::move(text);
  }
  return options;
}

Options parse_options(std::string_view value) {
  if (value.starts_with('{')) return parse_json(value);
  Options options;
  for (std::size_t index = 0; !value.empty(); ++index)
    put_part(options, take_part(value), index);
  return options;
}

// --- Sockets
// ------------------------------------------------------------------

std::optional<std::string> listening_path(const Options& socket,
                                          std::string_view path) {
  if (path.empty() || !socket.is_on("server") || socket.is_on("abstract"))
    return std::nullopt;
  return std::string(path);
}

/// Collects monitors; chardevs may be named before they are defined.
class Monitors {
 public:
  void add_chardev(const Options& chardev) {
    const std::string_view backend = chardev.first_or("backend");
    const std::string_view id = chardev.get("id");
    // libvirt's own name for what it keeps to itself.
    if (backend != "socket" || id == "charmonitor") return;
    auto path = listening_path(chardev, chardev.get("path"));
    if (path) chardevs_[std::string(id)] = *std::move(path);
  }
  // -qmp and -qmp-pretty: a chardev in short, or the id of one.
  void add_qmp(std::string_view value) {
    if (value.starts_with("chardev:")) {
      add(Monitor{.chardev = std::string(value.substr(8)), .path = {}});
    } else if (value.starts_with("unix:")) {
      const Options socket = parse_options(value.substr(5));
      auto path = listening_path(socket, socket.first_or("path"));
      if (path) add(Monitor{.chardev = {}, .path = *std::move(path)});
    }
  }
  void add_mon(const Options& mon) {
    if (mon.get("mode") == "control")  // the other, and default, is readline
      add(Monitor{.chardev = std::string(mon.first_or("chardev")), .path = {}});
  }
  void add_object(const Options& object) {
    if (object.first_or("qom-type") == "monitor-qmp")
      add(Monitor{.chardev = std::string(object.get("chardev")), .path = {}});
  }
  std::vector<std::string> paths() const {
    std::vector<std::string> paths;
    for (const Monitor& monitor : monitors_) {
      const auto chardev = chardevs_.find(monitor.chardev);
      const std::string& path =
          monitor.path.empty() && chardev != chardevs_.end() ? chardev->second
                                                             : monitor.path;
      if (path.empty() || is_libvirt_monitor(path)) continue;
      if (std::find(paths.begin(), paths.end(), path) == paths.end())
        paths.push_back(path);
    }
    return paths;
  }

 private:
  struct Monitor {
    std::string chardev;  // empty: `path` says where
    std::string path;
  };
  void add(Monitor monitor) { monitors_.push_back(std::move(monitor)); }

  std::vector<Monitor> monitors_;
  std::map<std::string, std::string> chardevs_;  // listening ones, by id
};

// --- Memory
// -------------------------------------------------------------------

bool is_huge(std::string_view path) {
  return path.find("hugepages") != std::string_view::npos ||
         path.find("hugetlbfs") != std::string_view::npos;
}

void add_file(MemoryBacking& memory, std::string_view path) {
  if (path.empty()) return;
  memory.files.emplace_back(path);
  memory.huge_pages = memory.huge_pages || is_huge(path);
}

void add_memory_object(MemoryBacking& memory, const Options& object) {
  const std::string_view type = object.first_or("qom-type");
  memory.encrypted = memory.encrypted || type == "sev-guest" ||
                     type == "sev-snp-guest" || type == "tdx-guest" ||
                     type == "pef-guest" || type == "s390-pv-guest";
  if (!type.starts_with("memory-backend-")) return;
  add_file(memory, object.get("mem-path"));
  // A memfd is shared unless said otherwise (QEMU, backends/hostmem-memfd.c).
  const bool is_shared = object.named.contains("share")
                             ? object.is_on("share")
                             : type == "memory-backend-memfd";
  memory.shared = memory.shared || is_shared;
  memory.huge_pages = memory.huge_pages || object.is_on("hugetlb");
  memory.preallocated = memory.preallocated || object.is_on("prealloc");
}

bool pins_memory(std::string_view driver) {
  return driver.starts_with("vfio-") || driver.starts_with("vhost-vdpa");
}

void add_memory_fact(MemoryBacking& memory, std::string_view option,
                     std::string_view value) {
  const Options options = parse_options(value);
  if (option == "overcommit") {
    memory.locked = memory.locked || options.is_on("mem-lock") ||
                    options.get("mem-lock") == "on-fault" ||
                    options.first == "mem-lock";
  } else if (option == "realtime") {
    memory.locked = memory.locked || options.is_on("mlock");
  } else if (option == "device") {
    memory.passthrough =
        memory.passthrough || pins_memory(options.first_or("driver"));
  } else if (option == "netdev") {
    memory.passthrough =
        memory.passthrough || pins_memory(options.first_or("type"));
  } else if (option == "mem-path") {
    add_file(memory, value);
  } else if (option == "object") {
    add_memory_object(memory, options);
  }
}

void add_monitor(Monitors& monitors, std::string_view option,
                 std::string_view value) {
  if (option == "qmp" || option == "qmp-pretty") {
    monitors.add_qmp(value);
  } else if (option == "chardev") {
    monitors.add_chardev(parse_options(value));
  } else if (option == "mon") {
    monitors.add_mon(parse_options(value));
  } else if (option == "object") {
    monitors.add_object(parse_options(value));
  }
}

// Without their dashes; QEMU takes one or two. Empty: no option.
std::string_view option_of(std::string_view word) {
  if (!word.starts_with('-')) return {};
  word.remove_prefix(word.starts_with("--") ? 2 : 1);
  return word;
}

}  // namespace

bool is_libvirt_monitor(std::string_view path) {
  const std::string normal =
      std::filesystem::path(path).lexically_normal().string();
  const std::filesystem::path parts{normal};
  const std::string name = parts.filename().string();
  const std::string folder = parts.parent_path().filename().string();
  if (name == "monitor.sock" && folder.starts_with("domain-")) return true;
  return normal.find("libvirt/qemu/") != std::string::npos &&
         (name.starts_with("monitor") || name.ends_with(".monitor"));
}

CommandLine parse_command_line(std::span<const std::string> words) {
  CommandLine line;
  Monitors monitors;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string_view option = option_of(words[i]);
    if (option == "mem-prealloc") line.memory.preallocated = true;
    // All others that matter here take a value.
    if (option.empty() || i + 1 == words.size()) continue;
    add_monitor(monitors, option, words[i + 1]);
    add_memory_fact(line.memory, option, words[i + 1]);
  }
  line.sockets = monitors.paths();
  return line;
}

std::vector<std::string> split_command_line(std::string_view cmdline) {
  std::vector<std::string> words;
  while (!cmdline.empty()) {
    const std::size_t end = cmdline.find('\0');
    words.emplace_back(cmdline.substr(0, end));
    if (end == std::string_view::npos) break;
    cmdline.remove_prefix(end + 1);
  }
  return words;
}

}  // namespace outrider::qmp
