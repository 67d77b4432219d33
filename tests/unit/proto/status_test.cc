#include "proto/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/rpc/details.pb.h"

namespace ckpt {
namespace {

using absl::StatusCode;

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

TEST(Status, CrossesTheWireWithItsReason) {
  struct Case {
    StatusCode code;
    const char* reason;
  };
  for (const Case& c : {
           Case{StatusCode::kInvalidArgument, reason::kBadManifest},
           Case{StatusCode::kNotFound, reason::kRunNotFound},
           Case{StatusCode::kAlreadyExists, reason::kStepContentDiffers},
           Case{StatusCode::kFailedPrecondition, reason::kAttemptFenced},
           Case{StatusCode::kResourceExhausted, reason::kNoSpace},
           Case{StatusCode::kAborted, reason::kPolicyChanged},
           Case{StatusCode::kDataLoss, reason::kChunkDamaged},
           Case{StatusCode::kUnavailable, reason::kDraining},
           Case{StatusCode::kInternal, reason::kInternal},
       }) {
    const absl::Status sent = MakeError(c.code, c.reason, "the run \"größe\" has no such step");

    const grpc::Status wire = ToGrpc(sent);
    const absl::Status received = FromGrpc(wire);

    EXPECT_EQ(static_cast<int>(wire.error_code()), static_cast<int>(c.code)) << c.reason;
    EXPECT_EQ(received, sent) << c.reason;  // code, message and payloads
    EXPECT_EQ(ReasonOf(received), c.reason);
    EXPECT_TRUE(HasReason(received, c.reason));
    EXPECT_FALSE(HasReason(received, "OTHER"));
  }
}

TEST(Status, CarriesTheWrongField) {
  const absl::Status sent =
      BadField("manifest.entries[3].shape", "a dimension is negative", reason::kBadManifest);

  const google::rpc::Status details = Details(ToGrpc(FromGrpc(ToGrpc(sent))));

  EXPECT_EQ(details.code(), static_cast<int>(StatusCode::kInvalidArgument));
  EXPECT_EQ(details.message(), "a dimension is negative");
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest request;
  for (const auto& detail : details.details()) {
    if (detail.Is<google::rpc::ErrorInfo>()) detail.UnpackTo(&info);
    if (detail.Is<google::rpc::BadRequest>()) detail.UnpackTo(&request);
  }
  EXPECT_EQ(info.domain(), "ckptd");
  EXPECT_EQ(info.reason(), reason::kBadManifest);
  ASSERT_EQ(request.field_violations_size(), 1);
  EXPECT_EQ(request.field_violations(0).field(), "manifest.entries[3].shape");
  EXPECT_EQ(request.field_violations(0).description(), "a dimension is negative");
}

TEST(Status, AnAnnotationKeepsWhatItCarries) {
  const absl::Status status = BadField("step", "is negative");

  const absl::Status annotated = Annotate(status, "push of rank 3");

  EXPECT_EQ(std::string(annotated.message()), "push of rank 3: is negative");
  EXPECT_EQ(annotated.code(), status.code());
  EXPECT_EQ(ReasonOf(annotated), reason::kBadField);
  EXPECT_EQ(Details(ToGrpc(annotated)).details_size(), Details(ToGrpc(status)).details_size());
  EXPECT_TRUE(Annotate(absl::OkStatus(), "push").ok());
}

TEST(Status, OkStaysOk) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
  EXPECT_EQ(ReasonOf(absl::OkStatus()), "");
}

TEST(Status, WithoutAReasonGoesOutAsInternal) {
  const absl::Status received = FromGrpc(ToGrpc(absl::UnknownError("what?")));

  EXPECT_EQ(received.code(), StatusCode::kUnknown);
  EXPECT_EQ(ReasonOf(received), reason::kInternal);
}

TEST(Status, OfThePeersLibraryComesInWithoutAReason) {
  const absl::Status received =
      FromGrpc(grpc::Status(grpc::StatusCode::UNAVAILABLE, "failed to connect"));

  EXPECT_EQ(received.code(), StatusCode::kUnavailable);
  EXPECT_EQ(std::string(received.message()), "failed to connect");
  EXPECT_EQ(ReasonOf(received), "");
}

TEST(Status, GarbageForDetailsIsNoReason) {
  for (const std::string& garbage : {std::string("\xff\xff\xff\xff"), std::string(1000, '\x0a'),
                                     std::string("\x1a\x02\x0a\x00", 4)}) {
    const absl::Status received =
        FromGrpc(grpc::Status(grpc::StatusCode::NOT_FOUND, "gone", garbage));
    EXPECT_EQ(received.code(), StatusCode::kNotFound);
    EXPECT_EQ(ReasonOf(received), "");
  }
}

absl::StatusOr<int> Half(int value) {
  if (value % 2 != 0) return BadField("value", "is odd");
  return value / 2;
}
absl::StatusOr<int> Quarter(int value) {
  ASSIGN_OR_RETURN(int half, Half(value));
  ASSIGN_OR_RETURN(int quarter, Half(half));
  RETURN_IF_ERROR(absl::OkStatus());
  return quarter;
}

TEST(Status, MacrosHandTheErrorOn) {
  EXPECT_EQ(Quarter(8).value(), 2);
  EXPECT_EQ(ReasonOf(Quarter(6).status()), reason::kBadField);
}

}  // namespace
}  // namespace ckpt
