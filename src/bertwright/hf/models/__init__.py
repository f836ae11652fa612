"""transformers' models by their names, on this package's encoders: padding is removed before the first layer."""

from .bert import BertForMaskedLM as BertForMaskedLM
from .bert import BertForMultipleChoice as BertForMultipleChoice
from .bert import BertForNextSentencePrediction as BertForNextSentencePrediction
from .bert import BertForPreTraining as BertForPreTraining
from .bert import BertForQuestionAnswering as BertForQuestionAnswering
from .bert import BertForSequenceClassification as BertForSequenceClassification
from .bert import BertForTokenClassification as BertForTokenClassification
from .bert import BertModel as BertModel
from .modern import ModernBertForMaskedLM as ModernBertForMaskedLM
from .modern import ModernBertForSequenceClassification as ModernBertForSequenceClassification
from .modern import ModernBertForTokenClassification as ModernBertForTokenClassification
from .modern import ModernBertModel as ModernBertModel
