// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <utility>

#include "agent/baseline/record.h"
#include "agent/sys/fd.h"

namespace outrider {
namespace {

// The start of a file; empty when it cannot be read.
std::string read_start(const std::string& path) {
  const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  std::string text(1024, '\0');
  const ssize_t got =
      file ? ::read(file.get(), text.data(), text.size()) : ssize_t{0};
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

}  // namespace

Result<std::string> read_boot_id() {
  std::string id = read_start("/proc/sys/kernel/random/boot_id");
  if (id.size() != kBootIdBytes) return fail(0, "no boot id in /proc");
  id.pop_back();  // the end of line
  return id;
}

std::uint64_t read_start_ticks(std::int32_t pid) {
  const std::string stat = read_start("/proc/" + std::to_string(pid) + "/stat");
  std::size_t at = stat.rfind(')');  // the name before may hold anything
  // Killed, and not yet waited for by its parent.
  const bool is_dead = at != std::string::npos && at + 2 < stat.size() &&
                       (stat[at + 2] == 'Z' || stat[at + 2] == 'X');
  // proc(5): the name is field 2, the start field 22.
  for (int field = 2; field < 22 && at != std::string::npos; ++field) {
    at = stat.find(' ', at + 1);
  }
  std::uint64_t ticks = 0;
  if (at == std::string::npos || is_dead) return 0;
  const char* begin = stat.data() + at + 1;
  const char* end = stat.data() + stat.size();
  return std::from_chars(begin, end, ticks).ec == std::errc{} ? ticks : 0;
}

Result<BaselineMapping> BaselineMapping::map(int fd) {
  struct stat facts {};
  if (::fstat(fd, &facts) != 0) return fail(errno, "stat the table");
  if (facts.st_size < static_cast<off_t>(sizeof(BaselineFile))) {
    return fail(0, "the file is too short for a table of baselines");
  }
  void* memory = ::mmap(nullptr, sizeof(BaselineFile), PROT_READ | PROT_WRITE,
                        MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return fail(errno, "map the table");
  return BaselineMapping{static_cast<BaselineFile*>(memory)};
}

BaselineMapping::BaselineMapping(BaselineMapping&& other) noexcept
    : file_(std::exchange(other.file_, nullptr)) {}

BaselineMapping& BaselineMapping::operator=(BaselineMapping other) noexcept {
  std::swap(file_, other.file_);
  return *this;
}

BaselineMapping::~BaselineMapping() {
  if (file_ != nullptr) ::munmap(file_, sizeof(BaselineFile));
}

bool BaselineMapping::is_of(const std::string& boot_id) const {
  const BaselineHeader& header = file_->header;
  return header.magic == kBaselineMagic && header.version == kBaselineVersion &&
         header.record_bytes == sizeof(BaselineRecord) &&
         padded_text(header.boot_id, sizeof(header.boot_id)) == boot_id;
}

bool BaselineMapping::has_owner() const {
  const BaselineHeader& header = file_->header;
  return header.owner_pid > 0 && header.owner_start_ticks != 0 &&
         read_start_ticks(header.owner_pid) == header.owner_start_ticks;
}

}  // namespace outrider
