#include "trainer/model.h"

#include <cmath>
#include <limits>

namespace ckpt::trainer {

namespace nn = torch::nn;
namespace F = torch::nn::functional;

// ---- Block ------------------------------------------------------------------

BlockImpl::BlockImpl(const ModelConfig& config) : heads_(config.heads) {
  const int64_t width = config.width;
  ln_1 = register_module("ln_1", nn::LayerNorm(nn::LayerNormOptions({width})));
  qkv = register_module("qkv", nn::Linear(width, 3 * width));
  attn_proj = register_module("attn_proj", nn::Linear(width, width));
  ln_2 = register_module("ln_2", nn::LayerNorm(nn::LayerNormOptions({width})));
  fc = register_module("fc", nn::Linear(width, 4 * width));
  mlp_proj = register_module("mlp_proj", nn::Linear(4 * width, width));
  dropout = register_module("dropout", nn::Dropout(config.dropout));
}

torch::Tensor BlockImpl::Attend(const torch::Tensor& x, const torch::Tensor& mask) {
  const int64_t batch = x.size(0), time = x.size(1), width = x.size(2);
  // (batch, time, 3 * width) to three of (batch, heads, time, width / heads).
  auto parts = qkv(x).view({batch, time, 3, heads_, width / heads_}).permute({2, 0, 3, 1, 4});
  auto scores = torch::matmul(parts[0], parts[1].transpose(-2, -1)) /
                std::sqrt(static_cast<double>(width / heads_));
  scores = scores.masked_fill(mask, -std::numeric_limits<float>::infinity());
  auto attended = torch::matmul(dropout(torch::softmax(scores, -1)), parts[2]);
  return attn_proj(attended.transpose(1, 2).reshape({batch, time, width}));
}

torch::Tensor BlockImpl::forward(torch::Tensor x, const torch::Tensor& mask) {
  x = x + dropout(Attend(ln_1(x), mask));
  return x + dropout(mlp_proj(torch::gelu(fc(ln_2(x)))));
}

// ---- Gpt --------------------------------------------------------------------

GptImpl::GptImpl(const ModelConfig& config) : config_(config) {
  token = register_module("token", nn::Embedding(config.vocab, config.width));
  position = register_module("position", nn::Embedding(config.context, config.width));
  dropout = register_module("dropout", nn::Dropout(config.dropout));
  blocks = register_module("blocks", nn::ModuleList());
  for (int64_t i = 0; i < config.layers; ++i) blocks->push_back(Block(config));
  ln_f = register_module("ln_f", nn::LayerNorm(nn::LayerNormOptions({config.width})));
  if (!config.tied) {
    head = register_module("head",
                           nn::Linear(nn::LinearOptions(config.width, config.vocab).bias(false)));
  }

  // GPT-2's: small weights, no biases, and what adds to the residual stream
  // smaller still the more layers add to it.
  torch::NoGradGuard no_grad;
  const double residual = 0.02 / std::sqrt(2.0 * static_cast<double>(config.layers));
  for (auto& parameter : named_parameters()) {
    auto& tensor = parameter.value();
    if (tensor.dim() < 2) {
      if (parameter.key().ends_with("bias")) tensor.zero_();
    } else {
      tensor.normal_(0, parameter.key().ends_with("_proj.weight") ? residual : 0.02);
    }
  }
}

torch::Tensor GptImpl::forward(const torch::Tensor& tokens) {
  const int64_t time = tokens.size(1);
  if (!mask_.defined() || mask_.device() != tokens.device()) {
    mask_ = torch::ones({config_.context, config_.context},
                        torch::dtype(torch::kBool).device(tokens.device()))
                .triu(1);
  }
  const auto mask = mask_.slice(0, 0, time).slice(1, 0, time);
  auto x = token(tokens) + position(torch::arange(time, tokens.options()));
  x = dropout(x);
  for (const auto& block : *blocks) x = block->as<Block>()->forward(x, mask);
  x = ln_f(x);
  return config_.tied ? torch::matmul(x, token->weight.t()) : head(x);
}

torch::Tensor GptImpl::Loss(const torch::Tensor& tokens, const torch::Tensor& targets) {
  const auto logits = forward(tokens);
  return F::cross_entropy(logits.view({-1, logits.size(-1)}), targets.reshape({-1}));
}

int64_t GptImpl::ParameterCount() const {
  int64_t count = 0;
  for (const auto& parameter : parameters()) count += parameter.numel();
  return count;
}

std::vector<torch::Tensor> GptImpl::Parameters(bool matrices) const {
  std::vector<torch::Tensor> chosen;
  for (const auto& parameter : parameters()) {
    if ((parameter.dim() >= 2) == matrices) chosen.push_back(parameter);
  }
  return chosen;
}

}  // namespace ckpt::trainer
