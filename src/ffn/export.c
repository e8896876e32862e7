/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/cpu_features.h"
#include "base/io.h"
#include "base/log.h"
#include "ffn/export_run.h"

enum phy_status phy_export_sidecar(const struct phy_export *run, const char *name, uint64_t most, char **text,
                                   size_t *bytes)
{
    const struct phy_checkpoint *checkpoint = run->donor.checkpoint;
    *text = NULL;
    *bytes = 0;
    for (size_t i = 0; i < phy_checkpoint_sidecar_count(checkpoint); i++) {
        struct phy_sidecar sidecar;
        int fd;
        phy_checkpoint_sidecar(checkpoint, i, &sidecar);
        if (sidecar.is_directory || strcmp(sidecar.path, name) != 0)
            continue;
        if (sidecar.bytes > most)
            return phy_fail(run->host, PHY_ERR_LIMIT, "%s: %llu bytes, at most %llu are read", name,
                            (unsigned long long)sidecar.bytes, (unsigned long long)most);
        enum phy_status status = phy_checkpoint_sidecar_open(checkpoint, i, &fd);
        if (status != PHY_OK)
            return status;
        *bytes = (size_t)sidecar.bytes;
        *text = phy_alloc(*bytes + 1, 1);
        int error = *text ? phy_pread_all(fd, *text, *bytes, 0) : ENOMEM;
        phy_close(fd);
        if (!error) {
            (*text)[*bytes] = 0;
            return PHY_OK;
        }
        phy_free(*text);
        *text = NULL;
        return error == ENOMEM ? phy_fail_memory(run->host, name, *bytes)
                               : phy_fail(run->host, PHY_ERR_IO, "%s: %s", name, strerror(error));
    }
    return PHY_OK;
}

/* A partial directory was there before us. An export leaves nothing to go on from; other commands do: their journals
 * say so. */
static enum phy_status take_over(struct phy_export *run)
{
    struct stat journal;
    if (fstat(run->output.journal_fd, &journal) != 0)
        return phy_output_fail(&run->output, PHY_OUTPUT_JOURNAL_PATH, errno);
    if (journal.st_size > 0 && !run->params->force)
        return phy_fail(run->host, PHY_ERR_USAGE, "%s holds unfinished work of another command; --force discards it",
                        run->output.partial_path);
    return phy_output_clear(&run->output);
}

enum phy_status phy_export_publish(struct phy_export *run, const struct phy_output_params *where,
                                   enum phy_status (*make)(void *user), void *user)
{
    enum phy_status status = phy_output_check(&run->output, where);
    if (status != PHY_OK)
        return status;
    status = phy_output_begin(&run->output);
    if (status == PHY_OK && run->output.found_partial)
        status = take_over(run);
    const bool begun = status == PHY_OK;
    if (status == PHY_OK)
        status = make(user);
    if (status == PHY_OK)
        status = phy_output_publish(&run->output);
    if (status != PHY_OK && begun)
        phy_output_discard(&run->output);
    phy_output_close(&run->output);
    return status;
}

enum phy_status phy_export_check_sources(const struct phy_export *run)
{
    if (run->store && phy_ffn_store_torn(run->store))
        return phy_fail(run->host, PHY_ERR_IO, "%s: a file became shorter while it was read", run->store->label);
    return phy_checkpoint_unchanged(run->donor.checkpoint);
}

static enum phy_status check_options(struct phy_export *run)
{
    const struct phy_export_params *params = run->params;
    if (!params->donor || !params->gguf == !params->vindex)
        return phy_fail(run->host, PHY_ERR_USAGE, "export needs a donor, and a GGUF file or a vindex to make");
    if (params->store && params->scheme)
        return phy_fail(run->host, PHY_ERR_USAGE, "a store or a scheme, not both");
    if (params->q6k_order && !params->vindex)
        return phy_fail(run->host, PHY_ERR_USAGE, "an order of Q6_K is of a vindex: GGUF has but one");
    run->scheme = params->scheme ? phy_store_scheme_named(params->scheme) : NULL;
    if (params->scheme && !run->scheme)
        return phy_fail(run->host, PHY_ERR_USAGE, "no scheme \"%.64s\"; there are %s", params->scheme,
                        phy_store_scheme_list());
    return PHY_OK;
}

/* The store must be of this donor: its shapes, and the digests of the tensors that it was made of. */
static enum phy_status open_store(struct phy_export *run)
{
    const struct phy_export_params *params = run->params;
    const struct phy_model_config *c = &run->donor.config;
    enum phy_status status = phy_ffn_store_open(
        &run->store, params->store, &(struct phy_ffn_store_params){.trust = params->trust, .host = run->host});
    if (status != PHY_OK)
        return status;
    const struct phy_ffn_store *store = run->store;
    run->scheme = store->known;
    if (!store->known)
        return phy_fail(run->host, PHY_ERR_UNSUPPORTED, "%s: a vindex; physarium quantize makes a store", store->label);
    if (store->layer_count != c->layer_count || store->hidden != c->hidden_size ||
        store->intermediate != c->intermediate_size)
        return phy_fail(run->host, PHY_ERR_MISMATCH, "%s: made of another model than %s: their sizes differ",
                        store->label, run->donor.label);
    for (uint32_t layer = 0; layer < c->layer_count; layer++) {
        bool same = true;
        if (store->layers[layer].present)
            status = phy_donor_made_layer(&run->donor, store, layer, &same);
        if (status != PHY_OK)
            return status;
        if (!same)
            return phy_fail(run->host, PHY_ERR_MISMATCH, "%s: made of another model than %s: layer %u differs",
                            store->label, run->donor.label, layer);
    }
    return PHY_OK;
}

static enum phy_status find_architecture(struct phy_export *run)
{
    static const char *const names[] = {[PHY_ARCH_LLAMA] = "llama",
                                        [PHY_ARCH_MISTRAL] = "llama",
                                        [PHY_ARCH_QWEN2] = "qwen2",
                                        [PHY_ARCH_QWEN3] = "qwen3",
                                        [PHY_ARCH_GEMMA3] = "gemma3"};
    run->architecture = phy_import_architecture(names[run->donor.config.architecture]);
    return run->architecture ? PHY_OK : phy_fail(run->host, PHY_ERR_INTERNAL, "no architecture");
}

enum phy_status phy_export_run(const struct phy_export_params *params, struct phy_export_result *result)
{
    struct phy_export run = {.params = params, .host = params->host};
    const double started = phy_seconds_now();
    enum phy_status status = check_options(&run);
    if (status == PHY_OK)
        status = phy_donor_open(&run.donor, params->donor, params->host);
    if (status != PHY_OK)
        return status;
    status = find_architecture(&run);
    if (status == PHY_OK && params->store)
        status = open_store(&run);
    const unsigned threads = params->threads ? params->threads : phy_cpu_count();
    if (status == PHY_OK && !(run.pool = phy_pool_create(threads)))
        status = phy_fail(params->host, PHY_ERR_MEMORY, "out of memory: %u threads", threads);
    if (status == PHY_OK)
        status = params->gguf ? phy_export_gguf(&run) : phy_export_vindex(&run);
    run.result.seconds = phy_seconds_now() - started;
    if (status == PHY_OK && result)
        *result = run.result;
    phy_pool_destroy(run.pool);
    phy_ffn_store_close(&run.store);
    phy_donor_close(&run.donor);
    return status;
}
