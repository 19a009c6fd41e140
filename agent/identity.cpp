// SPDX-License-Identifier: Apache-2.0
#include "agent/identity.h"

#include <algorithm>
#include <cctype>
#include <cstddef>

#include "agent/proc.h"

namespace outrider {
namespace {

constexpr std::size_t kNameBytesMax = 255;
constexpr std::string_view kScope = ".scope";
constexpr std::string_view kMachineQemu = "machine-qemu-";
constexpr std::string_view kLibvirtQemu = ".libvirt-qemu";

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() &&
         text.substr(text.size() - end.size()) == end;
}

std::string printable(std::string_view text) {
  std::string clean{text.substr(0, kNameBytesMax)};
  std::replace_if(
      clean.begin(), clean.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; },
      '?');
  return clean;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "qemu-1-web" -> "web": libvirt's machine name is driver, number, domain.
std::string domain_name(std::string_view machine) {
  if (!starts_with(machine, "qemu-")) return printable(machine);
  machine.remove_prefix(5);
  const std::size_t dash = machine.find('-');
  const bool numbered = dash != std::string_view::npos && dash > 0 &&
                        parse_number(machine.substr(0, dash)).has_value();
  return printable(numbered ? machine.substr(dash + 1) : machine);
}

bool is_libvirt_leaf(std::string_view name) {
  return name == "emulator" || starts_with(name, "vcpu") ||
         starts_with(name, "iothread");
}

std::string join(const std::vector<std::string_view>& names,
                 std::size_t count) {
  std::string path;
  for (std::size_t i = 0; i < count; ++i) path.append("/").append(names[i]);
  return path;
}

// The directory under the machine's that holds its knobs, if there is one.
std::size_t with_nested(const std::vector<std::string_view>& names,
                        std::size_t machine) {
  const bool nested =
      machine + 1 < names.size() && names[machine + 1] == "libvirt";
  return nested ? machine + 2 : machine + 1;
}

}  // namespace

std::string qemu_option(std::string_view options, std::string_view key) {
  std::string word;
  bool is_first = true;
  for (std::size_t i = 0; i <= options.size(); ++i) {
    const bool at_end = i == options.size();
    if (!at_end && options[i] != ',') {
      word.push_back(options[i]);
      continue;
    }
    if (!at_end && i + 1 < options.size() && options[i + 1] == ',') {
      word.push_back(',');
      ++i;
      continue;
    }
    const std::size_t equals = word.find('=');
    if (key.empty()) {
      return is_first && equals == std::string::npos ? word : std::string{};
    }
    if (equals != std::string::npos && word.compare(0, equals, key) == 0) {
      return word.substr(equals + 1);
    }
    word.clear();
    is_first = false;
  }
  return {};
}

std::string clean_uuid(std::string_view text) {
  if (text.size() != 36) return {};
  std::string uuid{text};
  bool any = false;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash != (uuid[i] == '-')) return {};
    if (dash) continue;
    if (hex_digit(uuid[i]) < 0) return {};
    any = any || uuid[i] != '0';
    uuid[i] =
        static_cast<char>(std::tolower(static_cast<unsigned char>(uuid[i])));
  }
  return any ? uuid : std::string{};
}

QemuNames parse_qemu_cmdline(const std::vector<std::string>& arguments) {
  QemuNames names;
  std::string smbios_uuid;
  for (std::size_t i = 1; i + 1 < arguments.size(); ++i) {
    std::string_view option = arguments[i];
    if (!starts_with(option, "-")) continue;
    option.remove_prefix(starts_with(option, "--") ? 2 : 1);
    const std::string& value = arguments[i + 1];
    if (option == "name") {
      std::string name = qemu_option(value, "guest");
      if (name.empty()) name = qemu_option(value, "");
      names.name = printable(name);
    } else if (option == "uuid") {
      names.uuid = clean_uuid(value);
    } else if (option == "id") {
      names.id = printable(value);
    } else if (option == "smbios" && qemu_option(value, "type") == "1") {
      smbios_uuid = clean_uuid(qemu_option(value, "uuid"));
    } else {
      continue;
    }
    ++i;  // the value is no option, whatever it looks like
  }
  if (names.uuid.empty()) names.uuid = smbios_uuid;
  return names;
}

std::string systemd_unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = i + 3 < text.size() && text[i] == '\\' &&
                        text[i + 1] == 'x' && hex_digit(text[i + 2]) >= 0 &&
                        hex_digit(text[i + 3]) >= 0;
    if (escape) {
      plain.push_back(static_cast<char>(hex_digit(text[i + 2]) * 16 +
                                        hex_digit(text[i + 3])));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

CgroupPlace place_of(std::string_view path) {
  const auto names = split(path, "/");
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string plain = systemd_unescape(names[i]);
    const bool is_scope = ends_with(plain, kScope);
    if (is_scope && starts_with(plain, kMachineQemu)) {
      const auto machine = std::string_view{plain}.substr(
          8, plain.size() - 8 - kScope.size());  // without "machine-", ".scope"
      return {VmOrigin::kLibvirt, join(names, with_nested(names, i)),
              domain_name(machine)};
    }
    if (ends_with(plain, kLibvirtQemu)) {  // libvirt without systemd
      const auto machine =
          std::string_view{plain}.substr(0, plain.size() - kLibvirtQemu.size());
      return {VmOrigin::kLibvirt, join(names, with_nested(names, i)),
              domain_name(machine)};
    }
    if (is_scope && i > 0 && names[i - 1] == "qemu.slice") {
      return {VmOrigin::kProxmox, join(names, i + 1),
              printable(plain.substr(0, plain.size() - kScope.size()))};
    }
  }
  if (names.empty()) return {};
  // An unknown launcher; it may lay threads out as libvirt does.
  std::size_t count = names.size();
  if (count > 2 && names[count - 2] == "libvirt" &&
      is_libvirt_leaf(names[count - 1])) {
    --count;
  }
  return {VmOrigin::kProcess, join(names, count), ""};
}

}  // namespace outrider
