"""The part of nnabla's `nnabla.proto` that is needed here, made into message classes at run time.

For the text of a network only names and types matter. For `parameter.protobuf`, which is binary, the field numbers
matter too; they are those of nnabla. Other fields of a file are skipped.
"""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "vis.nnp"

# Functions that have options, by the prefix of their field: `convolution` for `convolution_param`.
_FUNCTIONS = (
    "add2 add_n add_scalar affine average_pooling batch_matmul batch_normalization binary_connect_affine "
    "binary_connect_convolution binary_weight_affine binary_weight_convolution broadcast celu concatenate convolution "
    "crelu deconvolution depthwise_convolution div2 dropout elu flip fused_batch_normalization image_augmentation "
    "leaky_relu log_softmax max max_pooling maximum_scalar mean mean_subtraction min minimum_scalar mul2 mul_n "
    "mul_scalar pad pow2 pow_scalar prelu prod r_div_scalar r_pow_scalar r_sub_scalar random_crop relu reshape selu "
    "slice softmax softplus sub2 sum sum_pooling transpose unpooling"
).split()
_SOLVERS = "adam adamw momentum nesterov rmsprop sgd".split()

# One message has the options of all functions, another those of all solvers, as no name has two types.
_MESSAGES = {
    "Shape": "repeated int64 dim = 1",
    "Options": """
        optional Shape shape; optional Shape kernel; optional Shape stride; optional Shape pad; optional Shape dilation;
        optional Shape output_padding; repeated int64 axes; repeated int64 start; repeated int64 stop;
        repeated int64 step; repeated int64 pad_width; optional int64 axis; optional int64 base_axis;
        optional int64 group; optional int64 multiplier; optional double val; optional double alpha;
        optional double scale; optional double beta; optional double p; optional double eps;
        optional double decay_rate; optional double constant_value; optional double quantize_zero_to;
        optional double min_scale; optional double max_scale; optional double angle; optional double aspect_ratio;
        optional double distortion; optional double brightness; optional double contrast; optional double noise;
        optional bool flip_lr; optional bool flip_ud; optional bool channel_last; optional bool ignore_border;
        optional bool including_pad; optional bool batch_stat; optional bool no_scale; optional bool no_bias;
        optional bool keep_dims; optional bool with_index; optional bool only_index; optional bool transpose_a;
        optional bool transpose_b; optional string mode; optional string nonlinearity""",
    "Repeat": "optional string repeat_id; optional int64 times",
    "Function": "optional string name; optional string type; repeated string repeat_id; repeated string input;"
    "repeated string output; optional Repeat repeat_param;"
    + ";".join(f"optional Options {name}_param" for name in _FUNCTIONS),
    "Variable": "optional string name; optional string type; repeated string repeat_id; optional Shape shape",
    "RepeatInfo": "optional string id; optional int64 times",
    "Network": "optional string name; optional int64 batch_size; repeated RepeatInfo repeat_info;"
    "repeated Variable variable; repeated Function function",
    "Parameter": "optional string variable_name = 1; optional Shape shape = 20; repeated float data = 100",
    "SolverOptions": "optional double lr; optional double alpha; optional double beta1; optional double beta2;"
    "optional double eps; optional double wd; optional double momentum; optional double decay",
    "Schedule": "optional double max_iter; optional double power; optional double gamma;"
    "optional int64 iter_interval; repeated int64 iter_steps; optional int64 warmup_iter",
    "Solver": "optional string type; optional double weight_decay; optional string lr_scheduler_type;"
    "optional string lr_warmup_scheduler_type; optional double lr_decay; optional int64 lr_decay_interval;"
    "optional Schedule polynomial_scheduler_param; optional Schedule cosine_scheduler_param;"
    "optional Schedule exponential_scheduler_param; optional Schedule step_scheduler_param;"
    + ";".join(f"optional SolverOptions {name}_param" for name in _SOLVERS),
    "Bound": "optional string variable_name; optional string data_name; optional double learning_rate_multiplier",
    "Dataset": "optional string name; optional int64 batch_size",
    "Optimizer": "optional string name; optional string network_name; repeated string dataset_name;"
    "optional Solver solver; repeated Bound data_variable; repeated Bound generator_variable;"
    "repeated Bound loss_variable; repeated Bound parameter_variable",
    "Executor": "optional string name; optional string network_name; optional bool no_image_normalization;"
    "repeated Bound data_variable; repeated Bound generator_variable; repeated Bound output_variable",
    "File": "repeated Network network = 1000; repeated Parameter parameter = 200; repeated Dataset dataset = 1001;"
    "repeated Optimizer optimizer = 1002; repeated Executor executor = 1003",
}


def _message_class(name: str):
    """Return the class of a message; a field's type is that of protobuf or another message."""
    fields = descriptor_pb2.FieldDescriptorProto
    # As in proto2, absent fields can be told from zeros.
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto2")
    for message, text in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for position, line in enumerate(text.split(";"), 1):
            declaration, _, number = line.partition("=")
            label, kind, field = declaration.split()
            added = described.field.add(name=field, number=int(number or position))
            added.label = getattr(fields, f"LABEL_{label.upper()}")
            if kind in _MESSAGES:
                added.type, added.type_name = fields.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                added.type = getattr(fields, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


#: The message of a whole file.
File = _message_class("File")
#: The options of a function that has none in the file.
Options = message_factory.GetMessageClass(File.DESCRIPTOR.file.message_types_by_name["Options"])
