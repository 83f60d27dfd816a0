#include "model/network/recompute.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <memory>
#include <utility>

namespace llava::model {
namespace {

using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

class RecomputeNode final : public Node {
 public:
  RecomputeNode(std::function<at::Tensor(const at::Tensor&)> f, const at::Tensor& x,
                std::function<std::shared_ptr<const void>()> hold)
      : f_(std::move(f)), hold_(std::move(hold)), x_(x, /*is_output=*/false) {}

  variable_list apply(variable_list&& gradients) override {
    const at::AutoGradMode record(true);
    const auto held = hold_();
    const at::Tensor x = x_.unpack().variable_data();
    x.requires_grad_(task_should_compute_output(0));
    const at::Tensor y = f_(x);
    torch::autograd::backward({y}, {gradients[0]});
    return {x.grad()};
  }

  void release_variables() override {
    x_.reset_data();
    f_ = nullptr;
    hold_ = nullptr;
  }

  std::string name() const override { return "Recompute"; }

 private:
  std::function<at::Tensor(const at::Tensor&)> f_;
  std::function<std::shared_ptr<const void>()> hold_;
  SavedVariable x_;
};

}  // namespace

at::Tensor Recomputed(std::function<at::Tensor(const at::Tensor&)> f, const at::Tensor& x,
                      std::function<std::shared_ptr<const void>()> hold) {
  at::Tensor y;
  {
    const auto held = hold();
    // Under grad mode, so that the same kernels run here and in the backward pass; the graph is let
    // go.
    const at::Tensor with_graph = f(x.variable_data());
    y = with_graph.variable_data();
    if (!x.requires_grad() && !with_graph.requires_grad()) return y;  // nothing to learn below
  }
  const auto node = std::shared_ptr<RecomputeNode>(
      new RecomputeNode(std::move(f), x, std::move(hold)), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(x));
  torch::autograd::set_history(y, node);
  return y;
}

}  // namespace llava::model
