/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the audit share. */
#ifndef PHY_AUDIT_AUDIT_PARTS_H
#define PHY_AUDIT_AUDIT_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "audit/bounds.h"
#include "audit/metrics.h"
#include "audit/reference.h"
#include "ffn/path.h"
#include "ffn/store.h"
#include "model/model_parts.h"
#include "physarium/audit.h"
#include "physarium/tokenizer.h"
#include "report/audit_report.h"

/* What the reference gave: at each observed layer and position of a prompt. */
struct phy_recording {
    float **x, **y; /* (prompts) of (layers, positions, hidden): input of the FFN, and its output */
    size_t prompt_count;
};

struct phy_audit_storage;

struct phy_audit {
    struct phy_audit_params params; /* valid while phy_audit_run runs */
    const struct phy_host *host;    /* `shared` */
    struct phy_host shared;         /* the caller's, from several lanes */
    pthread_mutex_t progress;       /* of work_done, and of who reports it */
    pthread_mutex_t opening;        /* devices are opened and closed one at a time */
    atomic_bool stop;               /* a lane failed: the others end, too */
    struct phy_audit_record record;
    struct phy_bounds bounds;
    struct phy_model *model; /* its rest runs on the best form of the CPU: of the driven passes */
    struct phy_tokenizer *tokenizer;
    struct phy_recording recording;
    float *logits;                    /* (prompts, vocab) of the reference driving */
    bool dense;                       /* hardly a weight of the FFN is zero: --all makes no bitmap of it */
    double zeros;                     /* the share of them */
    struct phy_path_device **devices; /* (device_count): those opened so far, for all of their paths; or NULL */
    const struct phy_path_seam *seam; /* test seam: of every path; or NULL */
    uint64_t work_done, work_total;   /* in multiplications of the cost model */
};

/* ---- prompts.c ---- */

/* The three, and those of params.prompts, with ids and tokens' texts. */
enum phy_status phy_audit_prompts(struct phy_audit *audit);

/* ---- plan.c ---- */

/* One path of one storage to be run on every device. */
struct phy_audit_case {
    const char *scheme; /* "donor": the model's own matrices */
    const char *path;
    bool again; /* the same kernels on the same values as another storage: left out of --all unless it is named */
};
/* Those that params ask for, in order of schemes; ends with path NULL. */
struct phy_audit_case *phy_audit_cases(const struct phy_audit *audit, const char *scheme);
/* Whether some storage of this audit may offer the path; of a named store that is known when it is tried. */
bool phy_audit_has_path(const struct phy_audit *audit, const char *path);
/* Schemes that --all makes stores of; ends with NULL. */
extern const char *const phy_audit_schemes[];

/* Choose layers and positions: all, or what the budget leaves. `runs`: paths x devices, by device. */
enum phy_status phy_audit_plan(struct phy_audit *audit);
/* Seconds that a run takes by the fixed model of cost: what is trimmed depends on counts only, never on a clock. */
double phy_audit_cost(const struct phy_audit *audit, const char *device);

/* ---- reference_pass.c ---- */

/* The model's own layer for the reference. */
struct phy_reference_layer phy_audit_model_layer(const struct phy_model *model, uint32_t layer);
struct phy_reference phy_audit_reference(const struct phy_audit *audit, const struct phy_model *model);

/* The reference drives `model` over every prompt: its last logits, and with `record` what goes in and out of each
 * layer's FFN. */
enum phy_status phy_audit_reference_pass(struct phy_audit *audit, struct phy_model *model, struct phy_recording *record,
                                         float *logits);
/* The reference on other weights at the recorded inputs, by the threads of `model`: the same shape as recording.y. The
 * layers are given by `layer_of`. */
typedef bool phy_layer_source(const void *user, uint32_t layer, struct phy_reference_layer *out);
enum phy_status phy_audit_reference_on(struct phy_audit *audit, const struct phy_model *model,
                                       phy_layer_source *layer_of, const void *user, struct phy_recording *out);
enum phy_status phy_recording_alloc(struct phy_recording *recording, const struct phy_audit *audit, bool inputs);
void phy_recording_free(struct phy_recording *recording);

/* ---- measure.c: outputs become a run's numbers ---- */

struct phy_measuring {
    struct phy_audit *audit;
    struct phy_audit_run *run;
    const struct phy_recording *decoded;    /* or NULL */
    float *worst[2][2];                     /* original and decoded: path's row and the reference's; (hidden) each */
    double *element_error, *element_square; /* (hidden) each: over all observations, in decoded weights; or NULL */
    bool same_bits[2];
    uint64_t values[2]; /* of the reference that are not zero */
    bool not_finite, all_zero;
    void *hash;
};
enum phy_status phy_measuring_begin(struct phy_measuring *m, struct phy_audit *audit, struct phy_audit_run *run,
                                    const struct phy_recording *decoded);
/* y (count, hidden) of the observed positions first .. of the prompt and layer, both counted among the observed. */
void phy_measuring_add(struct phy_measuring *m, size_t prompt, size_t layer, size_t first, const float *y,
                       size_t count);
/* Means, and what is wrong with the outputs by themselves (NaN, zeros, the reference's bits). */
void phy_measuring_end(struct phy_measuring *m);
/* Compare with run->limits: causes, in words that say where and what. */
void phy_measuring_judge(struct phy_measuring *m);
void phy_measuring_free(struct phy_measuring *m);

/* Last logits with `ffn` driving, or the model's own for NULL; and the run's figures of them. What fails is a cause of
 * the run's; only the end of the audit (interrupted, out of memory) is returned. */
enum phy_status phy_audit_drive(struct phy_audit *audit, struct phy_audit_run *run, struct phy_model *model,
                                struct phy_ffn *ffn);

/* ---- lanes.c ---- */

/* Devices whose runs follow one another, while those of other lanes run beside them. */
struct phy_audit_lane {
    struct phy_audit *audit; /* only read, but for its devices, of which each lane has its own, and `progress` */
    struct phy_model *model; /* the audit's, or another one of the same files: paths drive it */
};
/* Every case of every storage on every device; runs and skips in the order of the plan, whoever was first. */
enum phy_status phy_audit_run_lanes(struct phy_audit *audit, struct phy_audit_storage *storages, size_t count);

/* audit->host: the caller's, whose progress is reported by one lane at a time, and which is cancelled for all lanes
 * once one has failed. */
void phy_audit_share_host(struct phy_audit *audit);
/* Multiplications of the cost model that are done. */
void phy_audit_add_work(struct phy_audit *audit, uint64_t work);

/* ---- run_path.c ---- */

/* A store with the reference's outputs in its weights. */
struct phy_audited_store {
    const char *scheme;
    const struct phy_ffn_store *store; /* NULL: the model's own */
    struct phy_ffn_store_info info;
    const struct phy_recording *decoded; /* NULL: the same as the original's */
};
/* What became of a path on a device: nothing yet, a run, or a skip. */
struct phy_audit_outcome {
    bool ran, skipped;
    struct phy_audit_run run;
    struct phy_audit_skip skip;
};
/* One path on one device; a failure is the run's result.
 * PHY_ERR_INTERRUPTED, PHY_ERR_MEMORY */
enum phy_status phy_audit_path(struct phy_audit_lane *lane, const struct phy_audited_store *store, const char *path,
                               const struct phy_device_info *device, struct phy_audit_outcome *out);
void phy_audit_close_devices(struct phy_audit *audit);
/* A run that could not begin: the store is damaged, or does not open. */
enum phy_status phy_audit_failed_path(const struct phy_audit *audit, const char *scheme, const char *path,
                                      const char *device, const char *cause, struct phy_audit_outcome *out);
void phy_audit_skip_path(const char *scheme, const char *path, const char *device, const char *reason,
                         struct phy_audit_outcome *out);
/* Room in the record for so many more runs, and as many skips; then outcomes move there. */
enum phy_status phy_audit_reserve(struct phy_audit *audit, size_t count);
void phy_audit_take_outcome(struct phy_audit *audit, struct phy_audit_outcome *outcome);
/* A new run at the end of the record; NULL without memory. */
struct phy_audit_run *phy_audit_new_run(struct phy_audit *audit);

/* ---- audit.c ---- */

/* A storage and what becomes of its cases. Made ready by the lane that comes first, and given up by the last. */
struct phy_audit_storage {
    char scheme[16];
    struct phy_audit_case *cases;       /* ends with path NULL */
    struct phy_audit_outcome *outcomes; /* (cases, devices), and one for a store of which nobody knows the paths */
    size_t outcome_count;
    struct phy_ffn_store *store; /* NULL: the model's own, or to be found in the cache */
    struct phy_recording decoded;
    struct phy_audited_store audited;
    char reason[PHY_AUDIT_SENTENCE]; /* "": it can be had */
    pthread_mutex_t lock;
    bool ready;
    size_t lanes; /* that are not done with it */
};
/* Open, look over, and compute the reference on its weights; or say why not. */
enum phy_status phy_audit_open_storage(struct phy_audit_lane *lane, struct phy_audit_storage *storage);
void phy_audit_close_storage(struct phy_audit_storage *storage);

/* ---- stores.c ---- */

/* The store of a scheme in the cache, made if it is not there. Failures are causes of the paths that need it: `reason`
 * (PHY_AUDIT_SENTENCE) and *out NULL.
 *   PHY_ERR_INTERRUPTED, PHY_ERR_MEMORY */
enum phy_status phy_audit_cached_store(struct phy_audit *audit, const char *scheme, struct phy_ffn_store **out,
                                       char *reason);
enum phy_status phy_audit_open_store(const char *directory, enum phy_q6k_order q6k_order, struct phy_ffn_store **out,
                                     char *reason);
/* "<cache>/<digest>/", or "" where that is too long. */
void phy_audit_cache_folder(const struct phy_audit *audit, char out[4096]);
/* XXH3-64 of all weight bytes, 16 hex digits. */
enum phy_status phy_audit_weight_digest(const struct phy_checkpoint *checkpoint, char *digest, size_t bytes,
                                        const struct phy_host *host);

/* ---- places.c ---- */

/* No reason and no cause names a directory by more than its last part. */
void phy_audit_hide_places(struct phy_audit *audit);

/* ---- oracle.c ---- */

/* Compare audit->logits with the stored ones of this model. PHY_ERR_FORMAT, PHY_ERR_IO */
enum phy_status phy_audit_oracle(struct phy_audit *audit);

/* ---- devices.c ---- */

/* Those that params.device names. PHY_ERR_USAGE */
enum phy_status phy_audit_devices(struct phy_audit *audit);
/* The form of the activation that belongs to a device. */
const struct phy_activation_variant *phy_audit_activation(const char *device);

/* ---- against.c ---- */

enum phy_status phy_audit_surgery(struct phy_audit *audit);

/* Phases of a run for tests: as phy_audit_run, with a seam on every path. */
enum phy_status phy_audit_run_with(struct phy_audit **out, const struct phy_audit_params *params,
                                   const struct phy_path_seam *seam);

#endif
