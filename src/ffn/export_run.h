/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that one export holds: export.c drives, export_gguf.c writes tensors, export_keys.c and export_tokenizer.c
 * the keys before them. */
#ifndef PHY_FFN_EXPORT_RUN_H
#define PHY_FFN_EXPORT_RUN_H

#include "base/pool.h"
#include "ffn/store_donor.h"
#include "ffn/store_parts.h"
#include "import/import_model.h"
#include "surgery/bytes.h"
#include "surgery/output_dir.h"

struct phy_export {
    const struct phy_export_params *params;
    const struct phy_host *host;
    struct phy_donor donor;
    const struct import_architecture *architecture;
    struct phy_ffn_store *store;           /* or NULL */
    const struct phy_store_scheme *scheme; /* of the store or asked for; NULL: bf16 */
    struct phy_pool *pool;
    struct phy_output output;
    struct phy_export_result result;
};

/* Keys of a GGUF file under construction. */
struct phy_gguf_keys {
    struct phy_bytes bytes;
    uint64_t count;
};

enum { GGUF_U32 = 4, GGUF_I32 = 5, GGUF_F32 = 6, GGUF_BOOL = 7, GGUF_STRING = 8, GGUF_ARRAY = 9 };

void phy_gguf_put_string(struct phy_bytes *to, const char *text, size_t bytes);
void phy_gguf_put_f32(struct phy_bytes *to, float value);
void phy_gguf_key_u32(struct phy_gguf_keys *keys, const char *name, uint32_t value);
void phy_gguf_key_f32(struct phy_gguf_keys *keys, const char *name, double value);
void phy_gguf_key_bool(struct phy_gguf_keys *keys, const char *name, bool value);
void phy_gguf_key_text(struct phy_gguf_keys *keys, const char *name, const char *text, size_t bytes);
/* Its `count` elements are to follow. */
void phy_gguf_key_array(struct phy_gguf_keys *keys, const char *name, uint32_t type, uint64_t count);

/* What the model is: every key that llama.cpp needs, or a refusal of what it has no word for. */
enum phy_status phy_export_keys(struct phy_export *run, struct phy_gguf_keys *keys);
/* tokenizer.json and what stands beside it. */
enum phy_status phy_export_tokenizer(struct phy_export *run, struct phy_gguf_keys *keys);
/* Llama 3's divisors of the rotary frequencies (head_dim / 2). */
void phy_export_rope_divisors(const struct phy_model_config *config, float *out);

/* A file beside the weights as text, the caller's; *text is NULL when there is none. */
enum phy_status phy_export_sidecar(const struct phy_export *run, const char *name, uint64_t most, char **text,
                                   size_t *bytes);

/* Make the output `where`: `make` writes it into run->output and reads it back, then it appears by one rename; of a
 * failure nothing stays. A partial directory that is found is cleared, unless another command's unfinished work is in
 * it. */
enum phy_status phy_export_publish(struct phy_export *run, const struct phy_output_params *where,
                                   enum phy_status (*make)(void *user), void *user);

/* After the last read: the store's files and the donor are what they were. */
enum phy_status phy_export_check_sources(const struct phy_export *run);

enum phy_status phy_export_gguf(struct phy_export *run);
enum phy_status phy_export_vindex(struct phy_export *run);

#endif
