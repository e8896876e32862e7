/* SPDX-License-Identifier: Apache-2.0 */
/* The instructions of AMX on processors that lack them: a handler of SIGILL decodes what stopped the program, does it
 * to tiles in memory as Intel's manual (volume 2) says, and lets the program go on behind it. Loads and stores touch
 * the same bytes as the processor's would. What the processor would refuse (#UD, #GP) is one sentence and abort().
 *
 * A test that is linked with it (phy_emulate_amx in cmake) runs every form of AMX: phy_cpu_detect, wrapped by the
 * linker, says that the processor has them, if it has the AVX-512 that goes with them. Where the processor has AMX
 * itself the instructions run there. */
#ifndef PHY_TESTS_SUPPORT_AMX_EMULATOR_H
#define PHY_TESTS_SUPPORT_AMX_EMULATOR_H

#include <stdbool.h>

#include "base/cpu_features.h"

/* What phy_cpu_detect says of the processor itself. */
struct phy_cpu_features amx_without_emulator(void);
/* Install the handler, for all threads; false if this is no x86-64. */
bool amx_emulate(void);

#endif
