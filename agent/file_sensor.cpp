// SPDX-License-Identifier: Apache-2.0
#include "agent/file_sensor.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <tuple>

namespace outrider {
namespace {

// In Sample's order: class, then vCPU, then age.
auto rank(const VmThread& thread, ThreadId id) {
  return std::tuple{thread.kind.thread_class, thread.kind.vcpu, id};
}

bool is_gone(int code) { return code == ESRCH || code == ENOENT; }

std::string file_of(const VmThread& thread, const char* name) {
  return std::to_string(thread.process) + "/task/" +
         std::to_string(thread.tid) + "/" + name;
}

// Reads a kept file, or opens it for this once. No allocation when kept.
template <std::size_t kSize>
Result<std::string_view> read_file(const ProcRoot& proc, const Fd& kept,
                                   const VmThread& thread, const char* name,
                                   std::array<char, kSize>& buffer) {
  Fd once;
  if (!kept) {
    once = Fd{::openat(proc.fd(), file_of(thread, name).c_str(),
                       O_RDONLY | O_CLOEXEC)};
    if (!once) return fail(errno, name);
  }
  const int fd = kept ? kept.get() : once.get();
  const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), 0);
  if (got < 0) return fail(errno, name);
  return std::string_view{buffer.data(), static_cast<std::size_t>(got)};
}

Result<SchedStat> read_schedstat(const ProcRoot& proc, const Fd& kept,
                                 const VmThread& thread) {
  std::array<char, 80> buffer{};  // three numbers of 20 digits
  auto text = read_file(proc, kept, thread, "schedstat", buffer);
  if (!text) return tl::unexpected<Error>(text.error());
  auto figures = parse_schedstat(*text);
  if (!figures) return fail(0, "schedstat is malformed");
  return *figures;
}

Result<TaskStatus> read_status(const ProcRoot& proc, const Fd& kept,
                               const VmThread& thread) {
  std::array<char, 4096> buffer{};  // 1.4 KiB on 6.18 with 2 CPUs
  auto text = read_file(proc, kept, thread, "status", buffer);
  if (!text) return tl::unexpected<Error>(text.error());
  auto status = parse_status(*text);
  if (!status) return fail(0, "status is malformed");
  return *status;
}

}  // namespace

std::uint64_t raise_open_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return limit.rlim_cur;
}

Result<> FileSensor::attach(const Vm& vm) {
  const auto place = std::find_if(
      vms_.begin(), vms_.end(),
      [&vm](const Watched& watched) { return watched.id >= vm.id; });
  if (place != vms_.end() && place->id == vm.id) {
    return fail(EEXIST, "attach vm=" + vm.identity.name + ": attached already");
  }
  auto stat = read_stat(proc_, vm.identity.pid);
  if (!stat) return pass(stat, "attach");
  if (stat->start_ticks != vm.identity.start_ticks) {
    return fail(ESRCH, "attach vm=" + vm.identity.name + ": no such process");
  }
  const std::string tasks = std::to_string(vm.identity.pid) + "/task";
  Watched watched;
  watched.id = vm.id;
  watched.identity = vm.identity;
  watched.task_dir = Fd{
      ::openat(proc_.fd(), tasks.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!watched.task_dir) return fail(errno, "attach: open " + tasks);
  auto threads = list_vm_threads(proc_, cgroups_, vm.identity);
  if (!threads) return pass(threads, "attach");
  add_threads(watched, *threads);
  vms_.insert(place, std::move(watched));
  return {};
}

Result<> FileSensor::detach(VmId vm) {
  const auto place =
      std::find_if(vms_.begin(), vms_.end(),
                   [vm](const Watched& watched) { return watched.id == vm; });
  if (place == vms_.end()) return fail(ENOENT, "detach: not attached");
  for (Thread& thread : place->threads) close_thread(thread);
  vms_.erase(place);
  return {};
}

void FileSensor::close_thread(Thread& thread) {
  if (thread.schedstat) --files_kept_;
  if (thread.status) --files_kept_;
  thread.schedstat = Fd{};
  thread.status = Fd{};
}

Result<FileSensor::Thread> FileSensor::open_thread(const VmThread& thread) {
  Thread opened;
  opened.id = ThreadId{next_thread_};
  opened.thread = thread;
  if (files_kept_ + 2 <= limits_.files_max) {
    const auto open = [&](const char* name) {
      return Fd{::openat(proc_.fd(), file_of(thread, name).c_str(),
                         O_RDONLY | O_CLOEXEC)};
    };
    opened.schedstat = open("schedstat");
    opened.status = open("status");
  }
  auto first = read_schedstat(proc_, opened.schedstat, thread);
  if (!first) return pass(first, "thread");
  auto status = read_status(proc_, opened.status, thread);
  if (!status) return pass(status, "thread");
  opened.first = opened.last = *first;
  opened.first_sleeps = opened.sleeps = status->voluntary_switches;
  // What it is in the middle of is not known; asleep, it is in nothing.
  opened.state =
      status->state == 'R' ? ThreadState::kUnknown : ThreadState::kSleeping;
  files_kept_ += opened.schedstat ? 1 : 0;
  files_kept_ += opened.status ? 1 : 0;
  ++next_thread_;
  return opened;
}

void FileSensor::add_threads(Watched& vm, const std::vector<VmThread>& found) {
  for (const VmThread& thread : found) {
    auto opened = open_thread(thread);
    if (opened) {
      vm.threads.push_back(*std::move(opened));
    } else if (!is_gone(opened.error().code)) {
      ++lost_;
    }
  }
  std::sort(vm.threads.begin(), vm.threads.end(),
            [](const Thread& a, const Thread& b) {
              return rank(a.thread, a.id) < rank(b.thread, b.id);
            });
}

// Threads that came before they had a name or a cgroup to know them by.
void FileSensor::look_again(Watched& vm) {
  for (Thread& thread : vm.threads) {
    if (thread.looks_left == 0 ||
        thread.thread.kind.thread_class != ThreadClass::kEmulator) {
      continue;
    }
    // A busy one may be a vCPU without a name that has not paused yet.
    if (thread.state == ThreadState::kSleeping) --thread.looks_left;
    auto kind =
        read_thread_kind(proc_, thread.thread.process, thread.thread.tid);
    if (kind) thread.thread.kind = *kind;
  }
}

bool FileSensor::needs_rescan(Watched& vm, Instant now) {
  struct stat facts {};
  if (::fstat(vm.task_dir.get(), &facts) != 0) return false;
  const bool changed = facts.st_nlink != vm.links;
  vm.links = facts.st_nlink;
  return changed || now >= vm.next_rescan;
}

void FileSensor::rescan(Watched& vm, Instant now) {
  // Of different length, so that the VMs do not all come at one read.
  vm.next_rescan =
      now + limits_.rescan_period * (24 + static_cast<int>(vm.id) % 8) / 32;
  auto tasks = list_tasks(proc_, vm.identity.pid);
  if (!tasks) return;  // ended: each thread finds out for itself
  look_again(vm);
  const auto is_known = [&vm](pid_t tid) {
    return std::any_of(
        vm.threads.begin(), vm.threads.end(),
        [tid](const Thread& thread) { return thread.thread.tid == tid; });
  };
  std::vector<VmThread> found;
  for (const pid_t tid : *tasks) {
    if (is_known(tid)) continue;
    auto kind = read_thread_kind(proc_, vm.identity.pid, tid);
    if (kind) found.push_back({vm.identity.pid, tid, *kind});
  }
  // Without a cgroup this walks through /proc: only at attachment, then.
  if (!vm.identity.cgroup.empty()) {
    for (const VmThread& vhost :
         list_vhost_threads(proc_, cgroups_, vm.identity, *tasks)) {
      if (!is_known(vhost.tid)) found.push_back(vhost);
    }
  }
  add_threads(vm, found);
}

void FileSensor::note_state(Thread& thread, const SchedStat& now) {
  auto status = read_status(proc_, thread.status, thread.thread);
  if (!status) return;
  const bool has_slept = status->voluntary_switches != thread.sleeps;
  thread.sleeps = status->voluntary_switches;
  if (status->state != 'R') {
    thread.open_run_ns = thread.open_wait_ns = 0;
    thread.state = ThreadState::kSleeping;
    return;
  }
  if (has_slept) thread.open_run_ns = thread.open_wait_ns = 0;
  thread.open_run_ns += now.run_ns - thread.last.run_ns;
  thread.open_wait_ns += now.wait_ns - thread.last.wait_ns;
  thread.state = now.run_ns != thread.last.run_ns ? ThreadState::kRunning
                                                  : ThreadState::kWaiting;
}

void FileSensor::read_thread(Thread& thread) {
  auto now = read_schedstat(proc_, thread.schedstat, thread.thread);
  const bool went_back = now && (now->run_ns < thread.last.run_ns ||
                                 now->wait_ns < thread.last.wait_ns);
  // Going back means that its tid is another thread's by now.
  if ((!now && is_gone(now.error().code)) || went_back) {
    thread.state = ThreadState::kExited;
    thread.open_run_ns = thread.open_wait_ns = 0;
    return;
  }
  if (!now) return;  // hold
  // Nothing moved: it slept all the time, or waited. Either way it does what
  // it did, and an idle thread costs one read.
  if (*now == thread.last) return;
  note_state(thread, *now);
  thread.last = *now;
}

void FileSensor::emit(const Watched& vm) {
  Sample& out = sample_;
  VmSample sample{.id = vm.id};
  sample.first_thread = static_cast<std::uint32_t>(out.threads.size());
  sample.first_vcpu = static_cast<std::uint32_t>(out.vcpus.size());
  for (const Thread& thread : vm.threads) {
    const bool is_vcpu = thread.thread.kind.thread_class == ThreadClass::kVcpu;
    out.threads.push_back(
        {.id = thread.id,
         .vm = vm.id,
         .tid = static_cast<std::uint32_t>(thread.thread.tid),
         .vcpu = thread.thread.kind.vcpu,
         .thread_class = thread.thread.kind.thread_class,
         .state = thread.state,
         .run_ns = thread.last.run_ns - thread.first.run_ns,
         .wait_ns = thread.last.wait_ns - thread.first.wait_ns,
         .open_run_ns = thread.open_run_ns,
         .open_wait_ns = thread.open_wait_ns,
         .wakeups =
             static_cast<std::uint32_t>(thread.sleeps - thread.first_sleeps)});
    if (is_vcpu) out.vcpus.emplace_back();
  }
  sample.thread_count =
      static_cast<std::uint32_t>(out.threads.size()) - sample.first_thread;
  sample.vcpu_count =
      static_cast<std::uint32_t>(out.vcpus.size()) - sample.first_vcpu;
  out.vms.push_back(sample);
}

const Sample& FileSensor::read(Instant now) {
  Sample& out = sample_;
  out.taken = now;
  out.vms.clear();
  out.threads.clear();
  out.vcpus.clear();
  out.blame.clear();
  for (Watched& vm : vms_) {
    for (Thread& thread : vm.threads) read_thread(thread);
    if (needs_rescan(vm, now)) rescan(vm, now);
    emit(vm);
    const auto gone = [this](Thread& thread) {
      if (thread.state != ThreadState::kExited) return false;
      close_thread(thread);
      return true;
    };
    vm.threads.erase(std::remove_if(vm.threads.begin(), vm.threads.end(), gone),
                     vm.threads.end());
  }
  out.lost = lost_;
  return out;
}

}  // namespace outrider
