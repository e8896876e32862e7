/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that physarium offers. */
#ifndef PHYSARIUM_PHYSARIUM_H
#define PHYSARIUM_PHYSARIUM_H

#include "audit.h"
#include "bench.h"
#include "calibrate.h"
#include "checkpoint.h"
#include "coverage.h"
#include "device.h"
#include "eval.h"
#include "ffn.h"
#include "generate.h"
#include "host.h"
#include "import.h"
#include "model.h"
#include "status.h"
#include "surgery.h"
#include "targets.h"
#include "tokenizer.h"
#include "version.h"

#endif
