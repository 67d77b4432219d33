// What every ChunkStore must do, whatever it stands on.
//
// An implementation derives a StoreUnderTest, links chunk_store_suite.cc and
// instantiates:
//   INSTANTIATE_TEST_SUITE_P(Mine, ChunkStoreSuite, ::testing::Values(&NewMyStoreUnderTest));
#pragma once

#include <memory>

#include <gtest/gtest.h>

#include "daemon/chunks/chunk_store.h"

namespace ckptd {

class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;
  virtual ChunkStore& store() = 0;
  // As after the daemon's process has ended and another begun.
  virtual void Reopen() = 0;
};
using StoreFactory = std::unique_ptr<StoreUnderTest> (*)();

class ChunkStoreSuite : public ::testing::TestWithParam<StoreFactory> {
 protected:
  ChunkStoreSuite() : under_test_(GetParam()()) {}
  ChunkStore& store() { return under_test_->store(); }
  void Reopen() { under_test_->Reopen(); }

 private:
  const std::unique_ptr<StoreUnderTest> under_test_;
};

}  // namespace ckptd
