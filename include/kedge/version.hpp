// SPDX-License-Identifier: Apache-2.0
#pragma once

#define KEDGE_VERSION_MAJOR 0
#define KEDGE_VERSION_MINOR 1
#define KEDGE_VERSION_PATCH 0
#define KEDGE_VERSION_STRING "0.1.0"
