/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_IMPORT_H
#define PHYSARIUM_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero is "the default" in every member but the paths. */
struct phy_import_params {
    const char *input;    /* a GGUF file of architecture llama, qwen2, qwen3 or gemma3 */
    const char *output;   /* directory to make */
    uint64_t shard_bytes; /* weights in one file, at most, if there is more than one tensor in it; 0: 5,000,000,000 */
    bool force;           /* replace a checkpoint directory that exists */
    const struct phy_host *host;
};

struct phy_import_result {
    char architecture[16]; /* "llama" ... */
    uint64_t tensor_count; /* written */
    uint64_t element_count, weight_bytes;
    uint32_t shard_count;
    uint64_t token_count; /* 0: the file has no tokenizer, and none was written */
    double seconds;
};

/* Write a directory as Hugging Face loaders read it: bf16 safetensors, config.json, generation_config.json,
 * tokenizer.json and tokenizer_config.json. Weights are decoded bit for bit and rounded once, to nearest even. The
 * whole of the file's header, its keys and its tokenizer are checked before any output exists; what cannot be said in
 * the output's formats, or is not known, is refused by name and never guessed. The directory appears by one rename.
 * result may be NULL.
 *
 *   PHY_ERR_IO           unreadable file, no space, a file that changed while it was read
 *   PHY_ERR_FORMAT       broken GGUF rules, keys or tensors that contradict each other or are missing
 *   PHY_ERR_UNSUPPORTED  architecture, tensor, tensor type, tokenizer or key that we cannot express
 *   PHY_ERR_LIMIT        a tokenizer of more than 64 MiB
 *   PHY_ERR_USAGE        an output that is refused: it exists, or it holds the input
 *   PHY_ERR_MEMORY       host allocation failed
 *   PHY_ERR_INTERRUPTED  the host asked to stop; nothing is kept
 *
 * Memory: the header and the tokenizer, and 16 MiB for the weights, whatever their size.
 * Thread-safety: any thread; runs with different outputs are independent. */
PHY_API enum phy_status phy_import_run(const struct phy_import_params *params, struct phy_import_result *result);

/* What phy_import_run would write, kept in memory: a directory to open with phy_model_open and phy_tokenizer_open. */
struct phy_memory_import;

struct phy_memory_import_params {
    const char *input;
    bool without_weights; /* config and tokenizer only */
    const struct phy_host *host;
};

/* The path leads to a folder of links in $TMPDIR (/tmp): the files lie in memory and end with the process, however it
 * ends; close removes the folder. Takes two bytes of memory for each weight.
 *   PHY_ERR_MEMORY  also when less memory is available than the weights take
 *   PHY_ERR_IO      also when no folder can be made
 *   and the errors of phy_import_run but PHY_ERR_USAGE
 * On success *out is the caller's: phy_memory_import_close(&import), after what was opened in it. NULL on failure. */
PHY_API enum phy_status phy_import_to_memory(struct phy_memory_import **out,
                                             const struct phy_memory_import_params *params);
PHY_API const char *phy_memory_import_path(const struct phy_memory_import *import);
PHY_API void phy_memory_import_close(struct phy_memory_import **import);

#ifdef __cplusplus
}
#endif
#endif
