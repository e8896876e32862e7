/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the paths share. */
#ifndef PHY_FFN_PATH_PARTS_H
#define PHY_FFN_PATH_PARTS_H

#include "device/held_log.h"
#include "ffn/path.h"
#include "ffn/store.h"
#include "model/model_parts.h"

/* ---- path_kinds.c: the table, and the router ---- */

enum path_family {
    PATH_DENSE,   /* gate, up and down as three products */
    PATH_PAIRED,  /* gate and up in one matrix, rows in turn, then down */
    PATH_STORED,  /* as either of these, whichever the store holds */
    PATH_LISTED,  /* the walk over the features of largest |act(gate . x)| */
    PATH_FEATURES /* the walk over all of them */
};

struct path_rule {
    struct phy_path_kind kind;
    enum path_family family;
    enum phy_product_kernel kernel; /* of products; FUSED for the scores of a walk */
    /* Formats of gate, up and down, bits 1 << type. Gate and up have the same one unless `mixed`. */
    uint32_t gate_types, up_types, down_types;
    bool mixed;
    bool widened;     /* matrices are decoded to float32 when the path is made */
    uint32_t quality; /* the router takes the lowest that is offered */
};

const struct path_rule *phy_path_rule_named(const char *name);

/* The matrices that a layer's path may be made of; data NULL where there is none. */
struct path_source {
    struct phy_weights gate, up, gate_up, down, down_by_feature;
    const float *gate_bias, *up_bias, *down_bias; /* or NULL */
    const char *label;                            /* the store or the model, for messages */
};

/* Whether that path can be made of the source on the backend; false: why not. */
bool phy_path_offers(const struct path_rule *rule, const struct path_source *source,
                     const struct phy_matmul_backend *backend, char *reason, size_t bytes);
/* Of a source that no path can be made of: why not the best one whose formats fit. */
void phy_path_why_none(const struct path_source *source, const struct phy_matmul_backend *backend, char *reason,
                       size_t bytes);
/* Hides what the router would take before `forced`; 0 for NULL. */
uint64_t phy_path_mask(const struct path_rule *forced);
/* The best that is offered and not hidden, or NULL. */
const struct path_rule *phy_path_route(const struct path_source *source, const struct phy_matmul_backend *backend,
                                       uint64_t mask);

/* ---- path_layer.c: the matrices of one layer ---- */

enum { PATH_MAX_OWNED = 4 };

struct path_layer {
    const struct path_rule *rule;
    /* gate and up, or gate_up; down: by feature for walks. */
    struct phy_weights gate, up, gate_up, down;
    const float *gate_bias, *up_bias, *down_bias;
    float *pair_bias; /* (2 intermediate), or NULL */
    void *owned[PATH_MAX_OWNED];
    uint32_t owned_count;
    bool on_cpu; /* the CPU stands in for the device here */
};

/* Point at the source's matrices, or make what it lacks: rows in turn, down transposed, values widened.
 * PHY_ERR_MEMORY. */
enum phy_status phy_path_layer_make(struct path_layer *layer, const struct path_rule *rule,
                                    const struct path_source *source, struct phy_pool *pool,
                                    const struct phy_host *host);
void phy_path_layer_free(struct path_layer *layer);
/* Its matrices, at most 3, for a backend's load; their number. */
size_t phy_path_layer_matrices(struct path_layer *layer, struct phy_weights *out[3]);
uint64_t phy_path_layer_bytes(const struct path_layer *layer);

/* ---- path_trace.c: what ran ---- */

/* Of which matrices a backend was given the product. */
enum path_op { OP_GATE_UP, OP_PAIRED, OP_DOWN, OP_FFN, OP_FFN_PAIRED, OP_SCORE, OP_WALK_LISTED, OP_WALK_ALL };

enum { PATH_MAX_EVENTS = 16 };

struct path_trace {
    enum path_op op; /* at work */
    struct path_event {
        enum path_op op;
        enum phy_product_kernel kernel;
        enum phy_weight_type type;
        char form[32];         /* a copy: a device's is valid only while it reports */
    } events[PATH_MAX_EVENTS]; /* no two alike */
    size_t count;
    bool overflow;
};

/* A phy_kernel_observer; user is a struct path_trace. */
void phy_path_trace_ran(void *user, enum phy_product_kernel kernel, enum phy_weight_type type, const char *form);
/* Which row of the table the events amount to, or NULL; and their kernels as text. */
const char *phy_path_trace_read(const struct path_trace *trace, char *kernels, size_t bytes);

/* ---- path.c ---- */

struct path {
    struct phy_ffn base;
    struct phy_model *model;
    const struct phy_ffn_store *store; /* or NULL */
    /* cpu: stands in for a device that is none; NULL until a layer needs it. */
    struct phy_matmul_backend *device, *cpu;
    struct phy_path_device *borrowed; /* whose `device` is; or NULL: the path's own */
    struct phy_held_log held;         /* the device's host */
    char device_name[sizeof((struct phy_matmul_backend *)0)->name];
    bool device_is_cpu, fallback_cpu;
    const struct path_rule *forced, *rule; /* forced: or NULL; rule: of most of what the path is for */
    uint32_t top_k;
    struct path_layer *layers, *rerouted; /* (layer_count); rerouted: NULL, or those of the seam, made when asked for */
    struct path_source *sources;          /* (layer_count) */
    struct path_trace trace;
    phy_path_tracer *tracer;
    void *tracer_user;
    const struct phy_path_seam *seam;
    float *gate, *pair; /* (PHY_FFN_MAX_COUNT, intermediate), and twice that: up, or gate and up in turn */
    uint32_t *features; /* (intermediate) */
    uint64_t visited, skipped, bytes_read;
};

/* ---- path_source.c: what a path may be made of ---- */

/* The store's layer; the model's own matrices where there is no store, or it lacks the layer. */
struct path_source phy_path_source_of(const struct phy_model *model, const struct phy_ffn_store *store, uint32_t index);
bool phy_path_is_stored(const struct phy_ffn_store *store, uint32_t index);
/* PHY_ERR_MISMATCH, logged, if the store's shape, or without `trust` the digests of the matrices that it was made of,
 * are not the model's. */
enum phy_status phy_path_check_store(const struct phy_model *model, const struct phy_ffn_store *store, bool trust);

/* ---- path_device.c: which layer runs where ---- */

struct phy_path_device {
    struct phy_held_log log; /* passes on to the path that uses it */
    struct phy_matmul_backend *backend;
};
/* `borrowed` or one of its own. */
enum phy_status phy_path_take_device(struct path *path, const char *device, bool tune,
                                     struct phy_path_device *borrowed);
void phy_path_leave_device(struct path *path);
/* Route, make and load every layer: those that fit in `device_memory` bytes (0: what the device holds) on the device,
 * the others on the CPU. */
enum phy_status phy_path_place_layers(struct path *path, uint64_t device_memory);
/* After a failed call on the device: true if the CPU has taken over all layers, so that the call is worth trying again.
 * Else *status is the call's, logged. */
bool phy_path_fall_back(struct path *path, enum phy_status *status);
struct phy_matmul_backend *phy_path_backend(const struct path *path, const struct path_layer *layer);
enum phy_status phy_path_load(struct phy_matmul_backend *backend, struct path_layer *layers, size_t count,
                              const struct phy_host *host);

/* ---- path_run.c ---- */

/* y = the layer's FFN of x on that backend. */
enum phy_status phy_path_run(struct path *path, struct path_layer *layer, uint32_t index,
                             struct phy_matmul_backend *backend, const float *x, size_t count, float *y);

/* ---- path_run.c ---- */

/* |act(gate . x)| of one row's features: gate, score and scratch (width); gate holds the products. */
void phy_path_score(const struct phy_activation_variant *variant, enum phy_activation activation, const float *gate,
                    size_t width, float *score, float *scratch);

/* ---- path_features.c ---- */

/* The k features of largest score, ties to the lower index, ascending, to out (k); NaN is larger than any number.
 * scratch (count); k <= count. */
void phy_path_top_features(const float *score, size_t count, size_t k, uint32_t *out, float *scratch);

#endif
