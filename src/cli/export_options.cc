#include "cli/export_options.h"

#include <CLI/CLI.hpp>

#include "cli/cache_directory.h"

namespace intaglio::cli {
namespace {

void AddWeightOptions(CLI::App& command, ExportOptions& options) {
  command
      .add_option(
          "--weights,--dtype", options.weights,
          "Matrices in the bundle: f32, bf16, int8, int4, or auto (default): quantised tensors of a GGUF or MXFP4 checkpoint stay as they are, "
          "others are f32 from an f32 checkpoint, else bf16. With int4, embedding and head are int8; routers and small matrices are not "
          "quantised")
      ->check(CLI::IsMember({"f32", "bf16", "int8", "int4", "auto"}));
  command.add_option("--group", options.group, "Weights that share a scale, in int8 and int4: 32, 64 or 128 (default: 32 in int8, 64 in int4)")
      ->check(CLI::IsMember({32, 64, 128}));
  command.add_option("--keep", options.keep,
                     "PATTERN=FORMAT, several times if need be: matrices of this name have another format, e.g. lm_head=int8, 'down_*=int8g64' or "
                     "'model.layers.0.*=bf16'; of several patterns that match, the last counts");
  command.add_flag("--dequantize", options.dequantize, "Make f32 or bf16 of tensors that are quantised in the checkpoint");
}

}  // namespace

CLI::Option* AddExportOptions(CLI::App& command, ExportOptions& options) {
  command.add_option("SRC", options.source, "Checkpoint directory (config.json, *.safetensors, tokenizer.json) or .gguf file")->required();
  command.add_option("--task", options.task, "generate text, or embed it (default: embed if modules.json is there)")
      ->check(CLI::IsMember({"generate", "embed"}));
  AddWeightOptions(command, options);
  command
      .add_option("--kv-dtype", options.kv_dtype,
                  "Keys and values of the cache: f32 (default), bf16 (half the memory, faster with long contexts) or int8 (a quarter)")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  command.add_option("--max-context", options.max_context, "Tokens a sequence may have (default: the model's limit, at most 4096)")
      ->check(CLI::PositiveNumber);
  command.add_option("--max-batch", options.max_batch, "Sequences at once (default: the largest batch bucket)")->check(CLI::PositiveNumber);
  command.add_option("--prefill-buckets", options.prefill_buckets, "Rows of the prompt graphs, e.g. 16,64,256 (the default)")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  command.add_option("--batch-buckets", options.batch_buckets, "Sequences of the decode graphs, e.g. 1,2,4 (the default)")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  command
      .add_option("--capacity-factor", options.capacity_factor,
                  "Mixtures of experts: bound the rows that an expert takes of a prefill step; later rows lose it, and answers then depend on chunks "
                  "and neighbours (default: no bound)")
      ->check(CLI::PositiveNumber);
  CLI::Option* tp =
      command.add_option("--tp", options.tp_degree, "Ranks that share every layer, as threads of a process or processes of mpirun: 1 (default) to 8")
          ->check(CLI::PositiveNumber);
  command
      .add_option("--ep", options.ep_degree,
                  "Mixtures of experts: how many of the ranks share out the experts, while the others share the inside of each (default: as many as "
                  "can)")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--expert-dispatch", options.expert_dispatch,
                  "How ranks with whole experts bring the results to their rows: reduce, exchange, or auto, whichever sends fewer bytes (default)")
      ->check(CLI::IsMember({"auto", "reduce", "exchange"}));
  command.add_option("--speculation", options.speculation, "Also build graphs that verify K proposed tokens a sequence")
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--keep-probes", options.keep_probes, "Keep the inner values that intaglio compare looks at; costs memory and time");
  return tp;
}

void AddCacheOptions(CLI::App& command, ExportOptions& options) {
  options.cache = DefaultCacheDirectory();
  CLI::Option* directory =
      command.add_option("--cache-dir", options.cache, "Where exported bundles are kept (default: INTAGLIO_CACHE, else ~/.cache/intaglio)");
  command.add_flag_callback("--no-cache", [&options] { options.cache.clear(); }, "Make the bundle anew, and do not keep it")->excludes(directory);
}

}  // namespace intaglio::cli
