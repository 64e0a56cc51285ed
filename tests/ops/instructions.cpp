// Calls the operators of a built library one by one, for Callgrind to count the instructions of each call.
// instructions LIBRARY SCHEMA...: the library, and the schemas that its kernels are registered for.
#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/randn.h>
#include <dlfcn.h>
#include <torch/csrc/jit/frontend/function_schema_parser.h>
#include <valgrind/callgrind.h>

#include <cstdio>
#include <string>
#include <tuple>
#include <vector>

using at::Tensor;
using c10::IValue;
using Stack = std::vector<IValue>;

static Stack call(const std::string& kernel, Stack stack) {
  c10::Dispatcher::singleton().findSchemaOrThrow(("whatwhere::" + kernel).c_str(), "").callBoxed(stack);
  return stack;
}

// What a kernel gives. The first call resolves symbols; the second one's count is dumped as "kernel, case: map".
static Stack count(const std::string& kernel, const std::string& what, const std::string& map, const Stack& given) {
  const std::string name = kernel + ", " + what + ": " + map;
  call(kernel, given);
  CALLGRIND_ZERO_STATS;
  Stack found = call(kernel, given);
  CALLGRIND_DUMP_STATS_AT(name.c_str());
  return found;
}

static IValue pooled(const Stack& gradients) {
  c10::List<std::optional<Tensor>> list;
  for (const IValue& value : gradients) list.push_back(value.toOptional<Tensor>());
  return list;
}

static void count_all(at::IntArrayRef shape, at::ScalarType type, const std::string& map) {
  const IValue none;
  const Tensor x = at::randn(shape).to(type), other = at::randn(shape).to(type), strength = at::randn({});
  const Tensor row = at::randn({shape[0], shape[1]}), column = at::randn({shape[0], shape[2]});
  const Tensor a = row.sigmoid(), b = column.sigmoid();
  CALLGRIND_START_INSTRUMENTATION;
  count("pool", "along columns", map, {x, 2, none, false, false});
  const Stack across = count("pool", "along columns with largest", map, {x, 2, none, true, true});
  const Stack across_gated = count("pool", "along columns, gated, with largest", map, {x, 2, column, true, true});
  count("pool", "along rows", map, {x, 1, none, false, false});
  const Stack down = count("pool", "along rows with largest", map, {x, 1, none, true, true});
  const Stack down_gated = count("pool", "along rows, gated, with largest", map, {x, 1, row, true, true});
  for (const auto& [along, dim, gradients] : {std::tuple{"columns", 2, across}, std::tuple{"rows", 1, down}}) {
    count("pool_weight_gradient", std::string("along ") + along, map, {x, dim, gradients[0], gradients[1], gradients[2]});
  }
  count("apply", "a row", map, {x, a, none, "gates", none, none, false});
  count("apply", "gates", map, {x, a, b, "gates", none, none, false});
  count("apply", "sum", map, {x, row, column, "sum", none, none, false});
  count("apply", "sum with strength, residual and ReLU", map, {x, row, column, "sum", strength, other, true});
  count("apply", "product", map, {x, row, column, "product", none, none, false});
  count("apply", "max", map, {x, row, column, "max", none, none, false});
  count("apply_gradients", "a row", map, {other, x, a, none, "gates", none});
  for (const std::string how : {"gates", "sum", "product", "max"}) {
    count("apply_gradients", how, map, {other, x, how == "gates" ? a : row, how == "gates" ? b : column, how, none});
  }
  const IValue nothing = pooled({});
  count("map_gradient", "gates", map, {x, other, a, b, "gates", none, nothing, nothing, none});
  count("map_gradient", "gates and pools, along columns gated", map,
        {x, other, a, b, "gates", none, pooled({across_gated[0], across_gated[1], across_gated[2], b}),
         pooled({down[0], down[1], down[2], none}), none});
  count("map_gradient", "gates and pools, along rows gated", map,
        {x, other, a, b, "gates", none, pooled({across[0], across[1], across[2], none}),
         pooled({down_gated[0], down_gated[1], down_gated[2], a}), none});
  count("map_gradient", "sum, means and extra", map,
        {x, other, row, column, "sum", none, pooled({across[0], none, none, none}),
         pooled({down[0], none, none, none}), other});
  CALLGRIND_STOP_INSTRUMENTATION;
}

int main(int arguments, char** argument) {
  std::vector<c10::RegistrationHandleRAII> held;
  for (int i = 2; i < arguments; ++i) {
    held.push_back(c10::Dispatcher::singleton().registerDef(torch::jit::parseSchema(argument[i]), "", {}));
  }
  if (dlopen(argument[1], RTLD_NOW) == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  at::manual_seed(0);
  for (const auto& [rows, columns] : {std::pair{16, 784}, {64, 49}, {196, 64}}) {
    for (const int64_t images : {1, 17}) {
      const std::string map = std::to_string(rows) + "x" + std::to_string(columns);
      count_all({images, rows, columns}, at::kFloat, map + " float32, " + std::to_string(images));
      count_all({images, rows, columns}, at::kBFloat16, map + " bfloat16, " + std::to_string(images));
    }
  }
}
