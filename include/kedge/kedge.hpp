// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/averages.hpp>
#include <kedge/baseline.hpp>
#include <kedge/comparison.hpp>
#include <kedge/concepts.hpp>
#include <kedge/elementwise.hpp>
#include <kedge/gram.hpp>
#include <kedge/greedy_soup.hpp>
#include <kedge/loop.hpp>
#include <kedge/losses.hpp>
#include <kedge/mirror.hpp>
#include <kedge/momentum.hpp>
#include <kedge/observers.hpp>
#include <kedge/optimizers.hpp>
#include <kedge/policy_problem.hpp>
#include <kedge/ppo.hpp>
#include <kedge/reference.hpp>
#include <kedge/restart.hpp>
#include <kedge/schedules.hpp>
#include <kedge/soup.hpp>
#include <kedge/state.hpp>
#include <kedge/version.hpp>
