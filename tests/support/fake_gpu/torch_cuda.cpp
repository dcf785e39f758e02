// SPDX-License-Identifier: Apache-2.0

// Stands for libtorch_cuda.so where one that loads is wanted, or where one is whose libraries are missing (KEDGE_ABSENT).
#ifdef KEDGE_ABSENT
extern "C" int kedge_absent();
extern "C" int kedge_fake_torch_cuda() { return kedge_absent(); }
#else
extern "C" int kedge_fake_torch_cuda() { return 0; }
#endif
