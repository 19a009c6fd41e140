// SPDX-License-Identifier: Apache-2.0
// Which VMs, threads and vCPUs a Sample has, apart from their figures: part of
// the record format. It changes seldom, so a record has it only when it did.
#pragma once

#include <cstddef>

#include "agent/core/record_bytes.h"
#include "agent/core/sample.h"

namespace outrider {

// What a Sample on file may hold. The house is built for 1,000 VMs.
inline constexpr std::size_t kRecordVmsMax = 8'192;
inline constexpr std::size_t kRecordThreadsMax = 131'072;

/// Whether both hold the same VMs, threads and vCPUs in the same places.
bool same_shape(const Sample& a, const Sample& b);

/// Whether each VM's threads and vCPUs lie within the Sample's arrays.
bool ranges_fit(const Sample& sample);

/// Appends all but the figures. Errors: none.
void encode_shape(const Sample& sample, ByteWriter& out);

/// A Sample without figures, or bytes.ok() is false.
Sample decode_shape(ByteReader& bytes);

/// `shape` with the figures that `base` has for the same VMs and threads, and
/// none for what is new; all else as in `base`. The ranges of both must fit.
Sample in_shape(Sample shape, const Sample& base);

}  // namespace outrider
