/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_FFN_H
#define PHYSARIUM_FFN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "model.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- stores ---- */

/* The FFN matrices of a model in one scheme: a directory that physarium wrote (index.json and data files;
 * docs/ffn-store.md), or a vindex directory. */
struct phy_ffn_store;

/* The order of the values in a vindex' Q6_K blocks, which nothing in the directory says. */
enum phy_q6k_order {
    PHY_Q6K_TOLD_BY_CODES, /* found out from where the largest codes lie; refused where that does not tell */
    PHY_Q6K_PAIRS,
    PHY_Q6K_GGML
};

struct phy_ffn_store_params {
    bool trust;                   /* do not read the data to check its digests */
    enum phy_q6k_order q6k_order; /* of a vindex; a store of ours has ggml's, and any other wish is PHY_ERR_USAGE */
    const struct phy_host *host;  /* may be NULL; must outlive the store */
};

struct phy_ffn_store_info {
    const char *scheme; /* "q4_k", "fp4" ...; "vindex" for another tool's directory */
    const char *layout; /* "split", "interleaved" or "by_feature" */
    const char *digest; /* hex: of everything that is stored; valid until the store is closed */
    uint32_t layer_count, hidden_size, intermediate_size;
    uint32_t stored_layers; /* layers that it holds: all, or those of --layers */
    uint64_t bytes;         /* of the matrices */
};

/* Open and check a store. On success *out is the caller's: phy_ffn_store_close(&store), after what uses it.
 *   PHY_ERR_USAGE        an order of Q6_K for what is no vindex
 *   PHY_ERR_IO           absent or unreadable
 *   PHY_ERR_FORMAT       a rule is broken, a digest differs: the log names file, matrix and fact
 *   PHY_ERR_UNSUPPORTED  a schema version or a format that we do not read
 *   PHY_ERR_MEMORY
 * Thread-safety: an open store may be read by many threads. */
PHY_API enum phy_status phy_ffn_store_open(struct phy_ffn_store **out, const char *directory,
                                           const struct phy_ffn_store_params *params);
PHY_API void phy_ffn_store_close(struct phy_ffn_store **store);
PHY_API void phy_ffn_store_describe(const struct phy_ffn_store *store, struct phy_ffn_store_info *out);

/* One matrix of a store, for inspection. */
struct phy_ffn_matrix_info {
    uint32_t layer;
    const char *name;   /* "gate", "up", "gate_up", "down", "down_by_feature" */
    const char *format; /* as docs/quant.md names it: "q4_K", "vindex_fp4" */
    const char *file;
    uint64_t rows, cols, offset, bytes;
    uint64_t values; /* weights that are stored: all but a bitmap's zeros */
};
PHY_API size_t phy_ffn_store_matrix_count(const struct phy_ffn_store *store);
PHY_API void phy_ffn_store_matrix(const struct phy_ffn_store *store, size_t index, struct phy_ffn_matrix_info *out);

/* ---- quantize ---- */

struct phy_quantize_params {
    const char *donor;  /* a safetensors directory */
    const char *output; /* a directory that is not there yet */
    const char *scheme; /* f32 f16 bf16 q8_0 q4_0 q4_k q6_k fp8 fp4 fp4_all mxfp4 */
    const char *layout; /* "split", "interleaved", "by_feature"; NULL: the scheme's own */
    bool has_layers;    /* only layer_first .. layer_last */
    uint32_t layer_first, layer_last;
    uint32_t threads; /* 0: all processors */
    bool resume, force;
    const char *advice; /* how an unfinished run is gone on with, for messages; NULL: "--resume goes on from here" */
    const struct phy_host *host;
};

struct phy_quantize_result {
    uint64_t weight_count, source_bytes, stored_bytes;
    uint32_t layer_count;
    double relative_rmse;       /* rms(decoded - original) / rms(original) */
    double relative_rmse_of[3]; /* of gate, up and down */
    bool already_finished; /* a resumed run found the finished store and wrote nothing; the rmse are not known: 0 */
    double seconds;
};

/* Stream the FFN of `donor` into a store, in bounded memory. The store appears by one rename; an interrupted run goes
 * on with `resume` and gives the same bytes.
 *   PHY_ERR_FORMAT  a weight that is not finite, a shape that is wrong
 *   PHY_ERR_USAGE, PHY_ERR_IO, PHY_ERR_UNSUPPORTED, PHY_ERR_MEMORY, PHY_ERR_INTERRUPTED */
PHY_API enum phy_status phy_quantize_run(const struct phy_quantize_params *params, struct phy_quantize_result *out);

/* ---- export ---- */

struct phy_export_params {
    const char *donor;  /* a safetensors directory */
    const char *store;  /* a store of its FFN; or NULL */
    const char *scheme; /* or a scheme to encode the FFN in; NULL: bf16 (GGUF), f32 (vindex) */
    const char *gguf;   /* file to make; or NULL */
    const char *vindex; /* directory to make; one of the two */
    uint32_t threads;   /* 0: all processors */
    /* Of a vindex from a q4_k store: down as the store's Q6_K blocks, their values in this order. Not said: down is
     * encoded as Q4_K, which means the same to every reader. */
    enum phy_q6k_order q6k_order;
    bool force; /* replace what is there, if it is of the same kind */
    bool trust; /* do not read the store to check its digests */
    const struct phy_host *host;
};

struct phy_export_result {
    uint64_t tensor_count, copied_count; /* written; of them, as they lie in the store */
    uint64_t token_count;                /* 0: no tokenizer */
    uint64_t bytes;                      /* of tensors */
    double seconds;
};

/* Write the whole model in another tool's container: a GGUF file with its tokenizer, FFN matrices in the store's or
 * scheme's formats, other matrices bf16, vectors f32; or a vindex directory of the FFN (docs/ffn-store.md). Formats
 * that the container cannot hold in a row of that length are replaced as ggml's writers do, with a note; what cannot be
 * said in it is refused by name. The output appears by one rename. result may be NULL.
 *
 *   PHY_ERR_USAGE, PHY_ERR_IO, PHY_ERR_FORMAT, PHY_ERR_UNSUPPORTED, PHY_ERR_MEMORY, PHY_ERR_INTERRUPTED
 *   PHY_ERR_MISMATCH  the store was made of another model */
PHY_API enum phy_status phy_export_run(const struct phy_export_params *params, struct phy_export_result *result);

/* ---- paths ---- */

/* One way of computing a model's FFN: "storage" or "storage:kernel" (docs/ffn.md has the table, and the order in which
 * the router prefers them). */
struct phy_ffn;

struct phy_ffn_params {
    const struct phy_ffn_store *store; /* NULL: the model's own matrices; must outlive the path */
    /* Only this path may be taken, in every layer; NULL: the router takes the best that store and device offer, and
     * layers that the store lacks run the model's own matrices. */
    const char *path;
    const char *device;     /* as in phy_model_params; NULL: "cpu" */
    uint64_t device_memory; /* bytes for matrices on a Vulkan device, later layers run on the CPU; 0: what it holds */
    uint32_t top_k;         /* sparse paths: features visited; 0: all */
    bool tune;              /* as in phy_model_params */
    bool fallback_cpu;      /* a device that is lost, or multiplies wrongly, hands over to the CPU, with a warning */
    bool trust;             /* do not check that the store was made of this model's matrices */
};

/* Make a path for `model`. Use it with phy_model_set_ffn. On success *out is the caller's: phy_ffn_destroy(&ffn), after
 * the sessions that use it and before the model. params NULL: all defaults. The log of a failure says why:
 *
 *   PHY_ERR_USAGE        no path of that name, more features than there are, a number of features for a path that is
 *                        not sparse, a bound on the memory of a CPU
 *   PHY_ERR_UNSUPPORTED  the store or the device does not offer it
 *   PHY_ERR_MISMATCH     the store was made of another model
 *   PHY_ERR_DEVICE       no such device, lost, or its products are wrong
 *   PHY_ERR_MEMORY       of the host; a device without room for all layers leaves the rest to the CPU, with a warning
 *   PHY_ERR_INTERRUPTED  the host asked to stop
 *
 * Its forward passes may fail with PHY_ERR_IO: a file of the store became shorter. One session at work at a time. */
PHY_API enum phy_status phy_ffn_create(struct phy_ffn **out, struct phy_model *model,
                                       const struct phy_ffn_params *params);
/* Accepts a pointer to NULL; sets it to NULL. */
PHY_API void phy_ffn_destroy(struct phy_ffn **ffn);
/* Sessions created from now on compute their FFN with this path; NULL: with the model's own matrices again. */
PHY_API void phy_model_set_ffn(struct phy_model *model, struct phy_ffn *ffn);

struct phy_ffn_info {
    const char *path;       /* "interleaved_q4k:fused": that of the stored layers */
    uint32_t path_layers;   /* layers that take it, from the store if there is one; the others are the donor's */
    const char *device;     /* "vulkan:0", "vulkan:0/lanes"; the text changes when the CPU takes over */
    const char *bucket;     /* "exact", "quantised" or "fp4" */
    uint32_t device_layers; /* layers on the device; the others on the CPU */
    /* So far. Of walks: features listed, and those of them whose contribution was exactly zero. Of matrices: each call
     * reads what it needs once, however many rows of x there are. */
    uint64_t features_visited, features_skipped, bytes_read;
};
PHY_API void phy_ffn_describe(const struct phy_ffn *ffn, struct phy_ffn_info *out);

/* Names of all paths, exact ones first; ends with NULL. */
PHY_API const char *const *phy_ffn_path_names(void);

#ifdef __cplusplus
}
#endif
#endif
