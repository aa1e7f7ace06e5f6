// Against the Python package `gguf`: tests/data/gguf is made by make_gguf_fixtures.py.
#include "checkpoint/gguf_dequantize.h"

#include <gtest/gtest.h>

#include <cstring>

#include "checkpoint/gguf.h"
#include "checkpoint/safetensors.h"

namespace intaglio::checkpoint {
namespace {

const std::filesystem::path kData = INTAGLIO_SOURCE_DIR "/tests/data/gguf";

class EveryType : public testing::TestWithParam<const char*> {};

TEST_P(EveryType, HasThePythonPackagesBits) {
  const GgufFile file = GgufFile::Open(kData / "types.gguf");
  const SafetensorsFile expected = SafetensorsFile::Open(kData / "types.safetensors");
  const GgufTensor& tensor = file.tensors().at(GetParam());
  EXPECT_EQ(Info(tensor.type).name, GetParam());
  std::vector<float> values(static_cast<size_t>(tensor.shape.num_elements()));
  Dequantize(tensor.type, tensor.bytes, values);
  const TensorView& golden = expected.tensor(GetParam());
  ASSERT_EQ(tensor.shape, golden.shape);
  for (size_t i = 0; i < values.size(); ++i) {
    float other = 0;
    std::memcpy(&other, golden.bytes.data() + 4 * i, 4);
    ASSERT_EQ(std::memcmp(&values[i], &other, 4), 0) << "element " << i << ": " << values[i] << ", expected " << other;
  }
}

INSTANTIATE_TEST_SUITE_P(Dequantize, EveryType,
                         testing::Values("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
                         [](const auto& info) { return std::string(info.param); });

TEST(GgmlTypes, FilesOfTypesCoverEveryTypeThatIsRead) {
  const GgufFile file = GgufFile::Open(kData / "types.gguf");
  for (uint32_t number = 0; number < 64; ++number) {
    const auto info = FindGgmlType(number);
    if (!info.has_value()) continue;
    EXPECT_TRUE(file.tensors().contains(std::string(info->name))) << info->name;
    EXPECT_EQ(GgmlTypeName(number), info->name);
  }
}

}  // namespace
}  // namespace intaglio::checkpoint
