# SPDX-License-Identifier: Apache-2.0
# cuDNN's headers and those of its frontend, for attention by its fused kernels: in the toolkit, where Debian puts them, or
# in the wheels nvidia-cudnn-cu13 (or -cu12), nvidia-cudnn-frontend and nvidia-cuda-nvrtc (whose header the frontend
# includes) of a Python environment. Without them, our own kernels do it. The libraries themselves are looked for at run time.
#
# Sets MEFT_CUDNN_SOURCES (files of csrc/cuda/runtime) and MEFT_CUDNN_FLAGS.
set(MEFT_CUDNN_HEADERS "" CACHE STRING "Folders to look into for cudnn.h, cudnn_frontend.h and nvrtc.h, before all others")
set(MEFT_CUDNN_LEAST_FRONTEND 1.12)  # masks by diagonal bands

set(places ${MEFT_CUDNN_HEADERS})
foreach(root IN ITEMS "$ENV{VIRTUAL_ENV}" "$ENV{CONDA_PREFIX}")
  if(root)
    file(GLOB sites "${root}/lib/python3*/site-packages")
    foreach(site IN LISTS sites)
      list(APPEND places ${site}/nvidia/cudnn/include ${site}/include ${site}/nvidia/cu13/include
         ${site}/nvidia/cuda_nvrtc/include)
    endforeach()
  endif()
endforeach()
find_program(MEFT_PYTHON3 python3)
if(MEFT_PYTHON3)
  execute_process(COMMAND ${MEFT_PYTHON3} -c "import sysconfig; print(sysconfig.get_paths()['purelib'], end='')"
                  OUTPUT_VARIABLE site ERROR_QUIET)
  if(site)
    list(APPEND places ${site}/nvidia/cudnn/include ${site}/include ${site}/nvidia/cu13/include
         ${site}/nvidia/cuda_nvrtc/include)
  endif()
endif()
get_filename_component(toolkit ${MEFT_NVCC} REALPATH)
get_filename_component(toolkit ${toolkit}/../../include ABSOLUTE)
list(APPEND places ${toolkit} /usr/local/cuda/include)

find_path(MEFT_CUDNN_INCLUDE cudnn.h HINTS ${places})
find_path(MEFT_CUDNN_FRONTEND_INCLUDE cudnn_frontend.h HINTS ${places})
find_path(MEFT_NVRTC_INCLUDE nvrtc.h HINTS ${places})
set(frontend 0)
if(MEFT_CUDNN_FRONTEND_INCLUDE AND EXISTS ${MEFT_CUDNN_FRONTEND_INCLUDE}/cudnn_frontend_version.h)
  file(READ ${MEFT_CUDNN_FRONTEND_INCLUDE}/cudnn_frontend_version.h text)
  string(REGEX MATCH "MAJOR_VERSION ([0-9]+)" match "${text}")
  set(major ${CMAKE_MATCH_1})
  string(REGEX MATCH "MINOR_VERSION ([0-9]+)" match "${text}")
  set(frontend ${major}.${CMAKE_MATCH_1})
endif()

if(MEFT_CUDNN_INCLUDE AND MEFT_NVRTC_INCLUDE AND frontend VERSION_GREATER_EQUAL MEFT_CUDNN_LEAST_FRONTEND)
  message(STATUS "attention also by cuDNN: ${MEFT_CUDNN_INCLUDE}, frontend ${frontend}")
  set(MEFT_CUDNN_SOURCES cudnn_library.cpp cudnn_attention.cpp)
  set(MEFT_CUDNN_FLAGS -DNV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING -isystem ${MEFT_CUDNN_FRONTEND_INCLUDE}
                       -isystem ${MEFT_CUDNN_INCLUDE} -isystem ${MEFT_NVRTC_INCLUDE})
else()
  message(STATUS "attention by our own kernels alone: cuDNN's headers, with a frontend of at least ${MEFT_CUDNN_LEAST_FRONTEND}, are not here")
  set(MEFT_CUDNN_SOURCES without_cudnn.cpp)
  set(MEFT_CUDNN_FLAGS)
endif()
