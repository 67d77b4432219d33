#include "tests/testing/certificates.h"

#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "daemon/access/openssl.h"

namespace ckpt::test {
namespace {

using ckptd::openssl::Bio;
using ckptd::openssl::Certificate;
using ckptd::openssl::Key;

long serial = 0;

void Extend(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  ASSERT_NE(extension, nullptr) << value;
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// `issuer` null: signed by itself, an authority.
Certificate Make(EVP_PKEY* key, const CertificateSpec& spec, X509* issuer, EVP_PKEY* issuer_key) {
  Certificate certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), spec.not_before);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), spec.not_after);
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(spec.common_name.c_str()), -1,
                             -1, 0);
  const bool is_authority = issuer == nullptr;
  if (is_authority) issuer = certificate.get();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer));
  X509_set_pubkey(certificate.get(), key);
  Extend(certificate.get(), issuer, NID_basic_constraints,
         is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  Extend(certificate.get(), issuer, NID_key_usage,
         is_authority ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
  if (!is_authority) Extend(certificate.get(), issuer, NID_subject_alt_name, spec.san.c_str());
  EXPECT_GT(X509_sign(certificate.get(), is_authority ? key : issuer_key, EVP_sha256()), 0);
  return certificate;
}

std::string Text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

Identity ToPem(X509* certificate, EVP_PKEY* key) {
  const Bio cert(BIO_new(BIO_s_mem())), secret(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(cert.get(), certificate);
  PEM_write_bio_PrivateKey(secret.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  return {Text(cert.get()), Text(secret.get())};
}

Key NewKey() { return Key(EVP_EC_gen("P-256")); }

}  // namespace

struct Authority::Parts {
  Key key;
  Certificate certificate;
};

Authority::Authority(const std::string& name) : parts_(std::make_unique<Parts>()) {
  parts_->key = NewKey();
  CertificateSpec spec;
  spec.common_name = name;
  parts_->certificate = Make(parts_->key.get(), spec, nullptr, nullptr);
  identity_ = ToPem(parts_->certificate.get(), parts_->key.get());
}

Authority::~Authority() = default;

Identity Authority::Issue(const CertificateSpec& spec) const {
  const Key key = NewKey();
  const Certificate certificate =
      Make(key.get(), spec, parts_->certificate.get(), parts_->key.get());
  return ToPem(certificate.get(), key.get());
}

}  // namespace ckpt::test
