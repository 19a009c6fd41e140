// SPDX-License-Identifier: Apache-2.0
// A Sample as the difference to the one before it: part of the record format.
//
//   taken, lost          steps
//   flags                1: the shape follows; 2: blame follows
//   [shape]              which VMs, threads and vCPUs there are
//   values               of each VM, thread and vCPU, in the shape's order
//   [blame]
//
// Values are steps from the same VM's or thread's figures in the Sample before
// (0 if it is new), from where they are expected: a thread busy at both ends is
// expected to have run all the time that it did not wait, and an open busy
// period to have gone on. A mask says which figures are elsewhere; a mask of 0
// is followed by how many more are 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "agent/base/result.h"
#include "agent/core/record_bytes.h"
#include "agent/core/sample.h"

namespace outrider {

inline constexpr std::size_t kRecordBlameMax = 65'536;

/// Errors: more than the file format holds, or ranges outside the arrays.
Result<> check_recordable(const Sample& sample);

/// Appends `sample` as the difference to `base` and makes `base` equal to it.
/// `sample` must have passed check_recordable().
void encode_sample(const Sample& sample, Sample& base,
                   std::vector<std::byte>& out);

/// Brings `base` forward by what `bytes` says. Where that makes no sense,
/// bytes.ok() is false and `base` holds nothing to rely on. What it gives has
/// ranges within its arrays and no value outside its enumeration.
void decode_sample(ByteReader& bytes, Sample& base);

}  // namespace outrider
