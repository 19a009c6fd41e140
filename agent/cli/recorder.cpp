// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/recorder.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

namespace outrider {
namespace {

bool contains(const std::vector<VmId>& ids, VmId id) {
  return std::binary_search(ids.begin(), ids.end(), id);
}

// The format's limit is far above any real name; a longer text loses its end.
std::string bounded(const std::string& text) {
  return text.substr(0, kRecordTextMax);
}

}  // namespace

Result<Recorder> Recorder::open(const std::string& path, Overwrite overwrite) {
  const int how = overwrite == Overwrite::kYes ? O_TRUNC : O_EXCL;
  Fd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | how, 0640)};
  if (!fd && errno == EEXIST)
    return fail(EEXIST, path + " is there: remove it, or pass --force");
  if (!fd) return fail(errno, "open");
  Recorder recorder{std::move(fd)};
  recorder.writer_.header(recorder.buffer_);
  auto written = recorder.write_out();
  if (!written) return tl::unexpected<Error>(std::move(written.error()));
  return recorder;
}

Result<> Recorder::identify(const std::vector<Vm>& vms) {
  std::vector<VmId> now;
  now.reserve(vms.size());
  for (const Vm& vm : vms) now.push_back(vm.id);
  std::sort(now.begin(), now.end());
  for (const VmId id : known_)
    if (!contains(now, id)) writer_.went({.id = id}, buffer_);
  for (const Vm& vm : vms) {
    if (contains(known_, vm.id)) continue;
    auto came = writer_.came({.id = vm.id,
                              .name = bounded(vm.identity.name),
                              .uuid = bounded(vm.identity.uuid),
                              .cgroup = bounded(vm.identity.cgroup),
                              .pid = vm.identity.pid},
                             buffer_);
    if (!came) return came;
  }
  known_ = std::move(now);
  return write_out();
}

Result<> Recorder::add(const Sample& sample) {
  auto added = writer_.sample(sample, buffer_);
  if (!added) return added;
  ++samples_;
  return write_out();
}

Result<> Recorder::write_out() {
  std::size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t wrote =
        ::write(fd_.get(), buffer_.data() + done, buffer_.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail(errno, "write");
    done += static_cast<std::size_t>(wrote);
  }
  bytes_ += done;
  buffer_.clear();
  return {};
}

}  // namespace outrider
