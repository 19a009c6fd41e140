// SPDX-License-Identifier: Apache-2.0
#include "agent/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>

namespace outrider {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

// Command lines of QEMU with many disks pass 10 KiB; the kernel allows 2 MiB.
constexpr std::size_t kCmdlineBytesMax = 256UL * 1024;
constexpr std::size_t kSmallFileBytesMax = 16UL * 1024;

// A process that ends between two calls gives either error.
int gone_as_esrch(int code) { return code == ENOENT ? ESRCH : code; }

std::string of_process(pid_t pid, std::string_view file) {
  return std::to_string(pid).append("/").append(file);
}

std::string explain(int code, pid_t pid) {
  std::string what = "process " + std::to_string(pid);
  if (code == ESRCH) return what + ": no such process";
  if (code == EACCES || code == EPERM) {
    return what + ": not allowed to look (run as root, with CAP_SYS_PTRACE)";
  }
  return what;
}

Result<Dir> open_dir_at(int dir, const std::string& path) {
  Fd fd{::openat(dir, path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!fd) return fail(errno, "open " + path);
  // fdopendir takes the descriptor over, so it gets one of its own.
  const int own = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);
  if (own < 0) return fail(errno, "open " + path);
  Dir stream{::fdopendir(own)};
  if (!stream) {
    const int code = errno;
    ::close(own);
    return fail(code, "open " + path);
  }
  return stream;
}

Result<std::vector<pid_t>> list_ids_at(int dir, const std::string& path) {
  auto stream = open_dir_at(dir, path);
  if (!stream) return tl::unexpected<Error>(stream.error());
  std::vector<pid_t> ids;
  while (const dirent* entry = ::readdir(stream->get())) {
    auto id = parse_number(entry->d_name);
    if (id) ids.push_back(static_cast<pid_t>(*id));
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

Result<std::string> read_of_process(const ProcRoot& proc, pid_t pid,
                                    std::string_view file,
                                    std::size_t bytes_max) {
  auto text = read_text_at(proc.fd(), of_process(pid, file), bytes_max);
  if (!text) {
    const int code = gone_as_esrch(text.error().code);
    return fail(code, explain(code, pid));
  }
  return text;
}

}  // namespace

Result<ProcRoot> ProcRoot::open(const std::string& path) {
  Fd dir{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!dir) return fail(errno, "open " + path);
  return ProcRoot{std::move(dir)};
}

Result<std::string> read_text_at(int dir, const std::string& path,
                                 std::size_t bytes_max) {
  Fd file{::openat(dir, path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) return fail(errno, "open " + path);
  std::string text;
  std::array<char, 4096> buffer{};
  while (text.size() < bytes_max) {
    const std::size_t want = std::min(buffer.size(), bytes_max - text.size());
    const ssize_t got = ::read(file.get(), buffer.data(), want);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno, "read " + path);
    if (got == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

Result<std::vector<std::string>> list_names_at(int dir,
                                               const std::string& path) {
  auto stream = open_dir_at(dir, path);
  if (!stream) return tl::unexpected<Error>(stream.error());
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream->get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::vector<std::string>> list_directories_at(int dir,
                                                     const std::string& path) {
  auto stream = open_dir_at(dir, path);
  if (!stream) return tl::unexpected<Error>(stream.error());
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream->get())) {
    // Kept by cgroup2, tmpfs, ext4: no stat for each of 60 files.
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
      names.emplace_back(entry->d_name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  auto [stop, code] = std::from_chars(text.data(), end, number);
  if (code != std::errc{} || stop != end) return std::nullopt;
  return number;
}

std::vector<std::string_view> split(std::string_view text,
                                    std::string_view separators) {
  std::vector<std::string_view> pieces;
  while (true) {
    const std::size_t start = text.find_first_not_of(separators);
    if (start == std::string_view::npos) return pieces;
    text.remove_prefix(start);
    const std::size_t stop = text.find_first_of(separators);
    pieces.push_back(text.substr(0, stop));
    if (stop == std::string_view::npos) return pieces;
    text.remove_prefix(stop);
  }
}

std::optional<ProcStat> parse_stat(std::string_view text) {
  // The name may hold spaces and brackets: the last ") " ends it.
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos ||
      close < open) {
    return std::nullopt;
  }
  // Numbered as in proc(5), less the first two: state is [0].
  const auto fields = split(text.substr(close + 1), " \n");
  if (fields.size() < 20 || fields[0].size() != 1) return std::nullopt;
  const auto flags = parse_number(fields[6]);
  const auto threads = parse_number(fields[17]);
  const auto start = parse_number(fields[19]);
  if (!flags || !threads || !start) return std::nullopt;
  return ProcStat{.comm = std::string(text.substr(open + 1, close - open - 1)),
                  .state = fields[0][0],
                  .flags = static_cast<std::uint32_t>(*flags),
                  .thread_count = static_cast<std::uint32_t>(*threads),
                  .start_ticks = *start};
}

Result<ProcStat> read_stat(const ProcRoot& proc, pid_t pid) {
  auto text = read_of_process(proc, pid, "stat", kSmallFileBytesMax);
  if (!text) return tl::unexpected<Error>(text.error());
  auto stat = parse_stat(*text);
  if (!stat) {
    return fail(0, "process " + std::to_string(pid) + ": stat is malformed");
  }
  return *std::move(stat);
}

bool has_ended(const ProcRoot& proc, pid_t pid) {
  const auto stat = read_stat(proc, pid);
  return stat ? stat->state == 'Z' || stat->state == 'X'
              : stat.error().code == ESRCH;
}

std::optional<TaskStatus> parse_status(std::string_view text) {
  TaskStatus status;
  int found = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const std::size_t colon = line.find(":\t");
    if (colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, colon);
    const std::string_view value = line.substr(colon + 2);
    if (key == "State" && !value.empty()) {
      status.state = value[0];
      ++found;
    } else if (key == "Tgid") {
      status.tgid = static_cast<pid_t>(parse_number(value).value_or(0));
      ++found;
    } else if (key == "voluntary_ctxt_switches") {
      status.voluntary_switches = parse_number(value).value_or(0);
      ++found;
    }
  }
  if (found != 3) return std::nullopt;
  return status;
}

std::optional<SchedStat> parse_schedstat(std::string_view text) {
  std::array<std::uint64_t, 3> numbers{};
  for (std::uint64_t& number : numbers) {
    const char* end = text.data() + text.size();
    auto [stop, code] = std::from_chars(text.data(), end, number);
    if (code != std::errc{}) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
    if (!text.empty()) text.remove_prefix(1);
  }
  return SchedStat{numbers[0], numbers[1], numbers[2]};
}

ProcCgroup parse_proc_cgroup(std::string_view text) {
  ProcCgroup cgroup;
  for (const std::string_view line : split(text, "\n")) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    std::string path{line.substr(second + 1)};
    if (line.substr(0, first) == "0" && controllers.empty()) {
      cgroup.v2 = std::move(path);
    } else if (controllers == "name=systemd") {
      cgroup.v1_systemd = std::move(path);
    } else {
      for (const std::string_view name : split(controllers, ",")) {
        if (name == "cpu") cgroup.v1_cpu = path;
      }
    }
  }
  return cgroup;
}

Result<ProcCgroup> read_proc_cgroup(const ProcRoot& proc, pid_t pid) {
  auto text = read_of_process(proc, pid, "cgroup", kSmallFileBytesMax);
  if (!text) return tl::unexpected<Error>(text.error());
  return parse_proc_cgroup(*text);
}

Result<std::vector<std::string>> read_cmdline(const ProcRoot& proc, pid_t pid) {
  auto text = read_of_process(proc, pid, "cmdline", kCmdlineBytesMax);
  if (!text) return tl::unexpected<Error>(text.error());
  std::vector<std::string> arguments;
  std::string_view rest = *text;
  while (!rest.empty()) {  // empty arguments count: "-name" "" "-id" "1"
    const std::size_t end = rest.find('\0');
    arguments.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return arguments;
}

Result<std::vector<pid_t>> list_processes(const ProcRoot& proc) {
  return list_ids_at(proc.fd(), ".");
}

Result<std::vector<pid_t>> list_tasks(const ProcRoot& proc, pid_t pid) {
  auto tasks = list_ids_at(proc.fd(), of_process(pid, "task"));
  if (!tasks) {
    const int code = gone_as_esrch(tasks.error().code);
    return fail(code, explain(code, pid));
  }
  return tasks;
}

Result<bool> has_descriptor(const ProcRoot& proc, pid_t pid,
                            std::string_view target,
                            std::size_t descriptors_max) {
  auto stream = open_dir_at(proc.fd(), of_process(pid, "fd"));
  if (!stream) {
    const int code = gone_as_esrch(stream.error().code);
    return fail(code, explain(code, pid));
  }
  std::array<char, 64> link{};
  const int dir = ::dirfd(stream->get());
  while (const dirent* entry = ::readdir(stream->get())) {
    if (entry->d_name[0] == '.') continue;
    if (descriptors_max-- == 0) break;
    const ssize_t length =
        ::readlinkat(dir, entry->d_name, link.data(), link.size());
    // If one may not be read, none may; a descriptor may have been closed.
    if (length < 0 && errno == EACCES) {
      return fail(EACCES, explain(EACCES, pid));
    }
    if (length < 0) continue;
    if (target ==
        std::string_view{link.data(), static_cast<std::size_t>(length)}) {
      return true;
    }
  }
  return false;
}

Result<bool> has_kvm(const ProcRoot& proc, pid_t pid,
                     std::size_t descriptors_max) {
  return has_descriptor(proc, pid, "anon_inode:kvm-vm", descriptors_max);
}

}  // namespace outrider
