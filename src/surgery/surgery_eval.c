/* SPDX-License-Identifier: Apache-2.0 */
/* --eval: what was written, still in its partial directory, against the donor on a text. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path_name.h"
#include "physarium/tokenizer.h"
#include "surgery/surgery_run.h"

enum { LARGEST_TEXT = 1 << 30 };

/* The whole file, the caller's. */
static enum phy_status read_text(const struct phy_run *run, const char *name, char **text, size_t *bytes)
{
    struct stat file;
    int fd = open(run->params.eval_text, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 || fstat(fd, &file) != 0 ? errno : 0;
    *text = NULL;
    if (!error && (!S_ISREG(file.st_mode) || file.st_size > LARGEST_TEXT)) {
        phy_close(fd);
        return phy_fail(&run->host, PHY_ERR_LIMIT, "%s: a text to evaluate on is a file of at most 1 GiB", name);
    }
    if (!error) {
        *bytes = (size_t)file.st_size;
        *text = phy_alloc(*bytes + 1, 1);
        error = *text ? phy_pread_all(fd, *text, *bytes, 0) : ENOMEM;
    }
    if (fd >= 0)
        phy_close(fd);
    return error ? phy_fail(&run->host, error == ENOMEM ? PHY_ERR_MEMORY : PHY_ERR_IO, "%s: %s", name, strerror(error))
                 : PHY_OK;
}

/* A tokenizer whose template puts something before an empty text begins texts with it. */
static enum phy_status encode(struct phy_run_eval *eval, const struct phy_tokenizer *tokenizer, const char *name,
                              const char *text, size_t bytes)
{
    struct phy_id_list bos;
    enum phy_status status = phy_tokenizer_encode(tokenizer, "", 0, NULL, &bos);
    if (status != PHY_OK)
        return status;
    eval->has_bos = bos.count > 0;
    eval->bos = bos.count ? bos.ids[0] : 0;
    phy_id_list_free(&bos);
    return phy_tokenizer_encode(tokenizer, text, bytes, &(struct phy_encode_params){.no_special = true, .name = name},
                                &eval->tokens);
}

static enum phy_status open_model(const struct phy_run *run, const char *directory, struct phy_model **out)
{
    const char *device = strncmp(run->params.device, "cpu", 3) == 0 ? run->params.device : NULL;
    return phy_model_open(
        out, directory,
        &(struct phy_model_params){.device = device, .threads = run->params.threads, .host = &run->host});
}

enum phy_status phy_run_prepare_eval(struct phy_run *run)
{
    struct phy_run_eval *eval = &run->eval;
    struct phy_tokenizer *tokenizer = NULL;
    char *text = NULL;
    size_t bytes = 0;
    if (!run->params.eval_text)
        return PHY_OK;
    if (!phy_checkpoint_is_directory(run->donor))
        return phy_fail(&run->host, PHY_ERR_USAGE,
                        "to evaluate, the donor is a directory with config.json and "
                        "tokenizer.json, not a file");
    eval->text_name = phy_path_last_part(run->params.eval_text);
    if (!eval->text_name)
        return phy_fail_memory(&run->host, "a name", strlen(run->params.eval_text));
    enum phy_status status = read_text(run, eval->text_name, &text, &bytes);
    if (status == PHY_OK)
        status = phy_tokenizer_open(&tokenizer, run->params.donor, &(struct phy_tokenizer_params){.host = &run->host});
    if (status == PHY_OK)
        status = encode(eval, tokenizer, eval->text_name, text, bytes);
    if (status == PHY_OK)
        status = open_model(run, run->params.donor, &eval->donor);
    if (status == PHY_OK)
        status = phy_eval_check(&(struct phy_eval_params){.model = eval->donor,
                                                          .tokens = eval->tokens.ids,
                                                          .token_count = eval->tokens.count,
                                                          .has_bos = eval->has_bos,
                                                          .host = &run->host});
    if (status == PHY_OK)
        snprintf(eval->text_digest, sizeof eval->text_digest, "%016llx", (unsigned long long)XXH3_64bits(text, bytes));
    phy_tokenizer_close(&tokenizer);
    phy_free(text);
    return status;
}

enum phy_status phy_run_evaluate(struct phy_run *run)
{
    struct phy_run_eval *eval = &run->eval;
    struct phy_model *pruned = NULL;
    if (!run->params.eval_text)
        return PHY_OK;
    enum phy_status status = open_model(run, run->output.partial_path, &pruned);
    if (status == PHY_OK)
        status = phy_eval_run(&(struct phy_eval_params){.model = pruned,
                                                        .baseline = eval->donor,
                                                        .tokens = eval->tokens.ids,
                                                        .token_count = eval->tokens.count,
                                                        .has_bos = eval->has_bos,
                                                        .bos = eval->bos,
                                                        .host = &run->host},
                              &eval->result);
    phy_model_close(&pruned);
    eval->done = status == PHY_OK;
    return status;
}

void phy_run_close_eval(struct phy_run *run)
{
    phy_eval_result_free(&run->eval.result);
    phy_id_list_free(&run->eval.tokens);
    phy_model_close(&run->eval.donor);
    phy_free(run->eval.text_name);
}
