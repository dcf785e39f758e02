// SPDX-License-Identifier: Apache-2.0
#pragma once

// Problems with known answers, the answers, and what measures the distance between them and an algorithm.

#include <kedge/lab/anchored_reward.hpp>
#include <kedge/lab/bandit.hpp>
#include <kedge/lab/bounds.hpp>
#include <kedge/lab/environments.hpp>
#include <kedge/lab/fit.hpp>
#include <kedge/lab/games.hpp>
#include <kedge/lab/newton.hpp>
#include <kedge/lab/samplers.hpp>
#include <kedge/lab/softmax_linear.hpp>
#include <kedge/lab/tabular.hpp>
#include <kedge/lab/two_token.hpp>
