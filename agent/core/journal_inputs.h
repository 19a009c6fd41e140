// SPDX-License-Identifier: Apache-2.0
// A tick's figures as the difference to the tick before: part of the journal's
// format. Of each VM a mask says which figures are not where they are expected,
// then follows the way of each; a mask of 0 is followed by how many more are 0.
#pragma once

#include <span>

#include "agent/core/controller.h"
#include "agent/core/record_bytes.h"

namespace outrider {

/// Appends `vms`. Shape: `base` has the same VMs in the same order.
void encode_inputs(std::span<const CpuInput> vms,
                   std::span<const CpuInput> base, ByteWriter& out);

/// Brings `vms` forward by what `bytes` says. Where that makes no sense,
/// bytes.ok() is false. What it gives is within kJournalMilliCpusMax.
void decode_inputs(ByteReader& bytes, std::span<CpuInput> vms);

}  // namespace outrider
