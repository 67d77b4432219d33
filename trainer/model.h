// A GPT-style language model over bytes: learned positions, pre-norm blocks of
// causal self-attention and a four times wider MLP, as GPT-2 has them.
#pragma once

#include <cstdint>
#include <vector>

#include <torch/nn.h>

namespace ckpt::trainer {

struct ModelConfig {
  int64_t vocab = 256;  // at least 256; rows above stay unused
  int64_t context = 64;
  int64_t layers = 2;
  int64_t heads = 2;
  int64_t width = 64;  // a multiple of heads
  double dropout = 0.1;
  bool tied = true;  // the head shares the token embedding's weights
};

class BlockImpl : public torch::nn::Module {
 public:
  explicit BlockImpl(const ModelConfig& config);
  // (batch, time, width) to the same; `mask` is true where attention may not look.
  torch::Tensor forward(torch::Tensor x, const torch::Tensor& mask);

 private:
  torch::Tensor Attend(const torch::Tensor& x, const torch::Tensor& mask);

  int64_t heads_;
  torch::nn::LayerNorm ln_1{nullptr}, ln_2{nullptr};
  torch::nn::Linear qkv{nullptr}, attn_proj{nullptr}, fc{nullptr}, mlp_proj{nullptr};
  torch::nn::Dropout dropout{nullptr};
};
TORCH_MODULE(Block);

class GptImpl : public torch::nn::Module {
 public:
  explicit GptImpl(const ModelConfig& config);
  // Token numbers (batch, time <= context) to logits (batch, time, vocab).
  torch::Tensor forward(const torch::Tensor& tokens);
  // Mean cross entropy of predicting `targets` (batch, time) from `tokens`.
  torch::Tensor Loss(const torch::Tensor& tokens, const torch::Tensor& targets);
  // How many numbers are learned; shared ones count once.
  int64_t ParameterCount() const;
  // What an optimizer should decay: matrices; and the rest: biases and norms.
  std::vector<torch::Tensor> Parameters(bool matrices) const;

 private:
  ModelConfig config_;
  torch::nn::Embedding token{nullptr}, position{nullptr};
  torch::nn::Dropout dropout{nullptr};
  torch::nn::ModuleList blocks{nullptr};
  torch::nn::LayerNorm ln_f{nullptr};
  torch::nn::Linear head{nullptr};  // absent when tied
  torch::Tensor mask_;              // made on first use, never saved
};
TORCH_MODULE(Gpt);

}  // namespace ckpt::trainer
