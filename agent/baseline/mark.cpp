// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/mark.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <span>

#include "agent/base/crc32c.h"
#include "agent/baseline/layout.h"

namespace outrider {
namespace {

constexpr std::string_view kPrefix = "user.outrider.baseline.";
constexpr std::size_t kValueBytesMax = 256;
constexpr std::size_t kNamesBytesMax = 65536;  // the kernel's limit

std::string name_of(std::string_view attribute) {
  return std::string(kPrefix).append(attribute);
}

std::string hexadecimal(std::uint32_t number) {
  std::array<char, 9> text{};
  (void)std::snprintf(text.data(), text.size(), "%08x", number);
  return text.data();
}

// Everything but the sum: "BOOT-ID CGROUP-ID PID/START-TICKS BASELINE".
// `attribute` is summed with it, though it stands in the xattr's name.
std::string sum_of(std::string_view attribute, std::string_view rest) {
  const std::uint32_t name =
      crc32c(std::as_bytes(std::span{attribute.data(), attribute.size()}));
  return hexadecimal(
      crc32c(std::as_bytes(std::span{rest.data(), rest.size()}), name));
}

// The word before the next space, taken off the front.
std::string_view take_word(std::string_view& text) {
  const std::size_t space = std::min(text.find(' '), text.size());
  const std::string_view word = text.substr(0, space);
  text.remove_prefix(std::min(space + 1, text.size()));
  return word;
}

std::optional<Mark> parse_mark(std::string_view attribute,
                               std::string_view value, std::uint64_t cgroup_id,
                               std::string_view boot_id) {
  const std::string_view sum = take_word(value);
  if (sum != sum_of(attribute, value)) return std::nullopt;
  if (take_word(value) != boot_id) return std::nullopt;
  if (take_word(value) != std::to_string(cgroup_id)) return std::nullopt;
  (void)take_word(value);  // who set it: for people, and `getfattr`
  if (value.empty()) return std::nullopt;
  return Mark{std::string(attribute), std::string(value)};
}

std::optional<Mark> read_mark(int cgroup, const std::string& name,
                              std::uint64_t cgroup_id,
                              std::string_view boot_id) {
  std::array<char, kValueBytesMax> value;
  const ssize_t got =
      ::fgetxattr(cgroup, name.c_str(), value.data(), value.size());
  if (got <= 0) return std::nullopt;
  return parse_mark(std::string_view(name).substr(kPrefix.size()),
                    {value.data(), static_cast<std::size_t>(got)}, cgroup_id,
                    boot_id);
}

}  // namespace

Result<Fd> open_cgroup(int mount, std::string_view cgroup, std::uint64_t id) {
  const std::string path = "." + std::string(cgroup);
  Fd dir{::openat(mount, path.c_str(),
                  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!dir) return fail(errno, "open cgroup " + std::string(cgroup));
  struct stat facts {};
  if (::fstat(dir.get(), &facts) != 0 || facts.st_ino != id) {
    return fail(ENOENT, "another cgroup is there now: " + std::string(cgroup));
  }
  return dir;
}

Result<> set_mark(int cgroup, std::uint64_t cgroup_id, const Mark& mark,
                  const MarkOwner& owner) {
  const std::string rest = owner.boot_id + " " + std::to_string(cgroup_id) +
                           " " + std::to_string(owner.pid) + "/" +
                           std::to_string(owner.start_ticks) + " " +
                           mark.baseline;
  const std::string value = sum_of(mark.attribute, rest) + " " + rest;
  if (::fsetxattr(cgroup, name_of(mark.attribute).c_str(), value.data(),
                  value.size(), 0) != 0) {
    return fail(errno, "set xattr " + name_of(mark.attribute));
  }
  return {};
}

Result<> remove_mark(int cgroup, std::string_view attribute) {
  if (::fremovexattr(cgroup, name_of(attribute).c_str()) != 0 &&
      errno != ENODATA) {
    return fail(errno, "remove xattr " + name_of(attribute));
  }
  return {};
}

std::vector<Mark> read_marks(int cgroup, std::uint64_t cgroup_id,
                             std::string_view boot_id) {
  std::vector<Mark> marks;
  const ssize_t bytes = ::flistxattr(cgroup, nullptr, 0);
  if (bytes <= 0 || static_cast<std::size_t>(bytes) > kNamesBytesMax) {
    return marks;
  }
  std::string names(static_cast<std::size_t>(bytes), '\0');
  const ssize_t got = ::flistxattr(cgroup, names.data(), names.size());
  names.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  for (std::size_t at = 0; at < names.size();) {
    const std::string name = names.c_str() + at;
    at += name.size() + 1;
    if (!name.starts_with(kPrefix)) continue;
    auto mark = read_mark(cgroup, name, cgroup_id, boot_id);
    if (mark) marks.push_back(*std::move(mark));
  }
  return marks;
}

}  // namespace outrider
