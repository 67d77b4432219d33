#include "daemon/rpc/service.h"

#include <google/protobuf/descriptor.h>

namespace ckptd {

std::vector<std::string> CheckpointsService::MethodNames() {
  const google::protobuf::ServiceDescriptor* service =
      ckpt::v1::GetStatsRequest::descriptor()->file()->FindServiceByName("Checkpoints");
  std::vector<std::string> names;
  for (int i = 0; i < service->method_count(); ++i) names.push_back(service->method(i)->name());
  return names;
}

}  // namespace ckptd
